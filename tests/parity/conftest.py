"""Three independent trainers: two of other projects, and the textbook in a page of Python."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from minillm.tokenizer import pretokenize

GPT2_REGEX = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s+"
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
# The bytes in the order of GPT-2's printable stand-ins, and these.
HF_ORDER = PRINTABLE + [byte for byte in range(256) if byte not in PRINTABLE]
STAND_INS = [chr(byte) for byte in PRINTABLE] + [chr(256 + i) for i in range(256 - len(PRINTABLE))]
BYTE_OF = dict(zip(STAND_INS, HF_ORDER, strict=True))


@pytest.fixture(scope="session")
def rustbpe_merges():
    """What rustbpe merges, as pairs of bytes. It breaks ties as `id` does."""

    def merges(documents, vocab_size):
        import rustbpe

        trainer = rustbpe.Tokenizer()
        trainer.train_from_iterator(iter(documents), vocab_size, pattern=GPT2_REGEX)
        ranks = sorted(trainer.get_mergeable_ranks(), key=lambda item: item[1])
        return [bytes(token) for token, _ in ranks[256:]]

    return merges


@pytest.fixture(scope="session")
def hugging_face_merges():
    """What Hugging Face tokenizers merge, as pairs of bytes. They break ties as `hf` does."""

    def merges(documents, vocab_size, **limits):
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, show_progress=False, initial_alphabet=alphabet, **limits
        )
        tokenizer.train_from_iterator(iter(documents), trainer)
        listed = json.loads(tokenizer.to_str())["model"]["merges"]
        return [tuple(bytes(BYTE_OF[char] for char in half) for half in pair) for pair in listed]

    return merges


@pytest.fixture(scope="session")
def textbook_merges():
    """What the textbook merges in each mode: it looks again at every word that held the pair."""
    return textbook


def textbook(documents, vocab_size, tie_break):
    """Merges by recounting; the order of ids is that of `order`, then that of the merges."""
    order = {
        bytes([byte]): rank
        for rank, byte in enumerate(HF_ORDER if tie_break == "hf" else range(256))
    }
    counted = Counter(word.encode() for text in documents for word in pretokenize(text, "gpt2"))
    words = [[[word[i : i + 1] for i in range(len(word))], n] for word, n in counted.items()]
    counts, holders = Counter(), defaultdict(set)

    def add(index, sign):
        tokens, n = words[index]
        for pair in pairwise(tokens):
            counts[pair] += sign * n
            holders[pair].add(index)

    for index in range(len(words)):
        add(index, 1)

    def rank(pair):
        ids = pair if tie_break == "lex" else (-order[pair[0]], -order[pair[1]])
        return counts[pair], ids

    merges = []
    while len(merges) < vocab_size - 256:
        best = max(counts, key=rank, default=None)
        if best is None or not counts[best]:
            break
        merges.append(best)
        order[best[0] + best[1]] = len(order)
        for index in holders.pop(best):
            add(index, -1)
            words[index][0] = merged(words[index][0], best)
            add(index, 1)
        del counts[best]
    return merges


def merged(tokens, pair):
    """`tokens` with each `pair` joined, left to right."""
    out = []
    for token in tokens:
        # What is joined is longer than the left half, so it is not taken for one.
        if out and (out[-1], token) == pair:
            out[-1] += token
        else:
            out.append(token)
    return out
