"""Merges equal those of two independent trainers, on real text.

`id` breaks ties as rustbpe does, `hf` as Hugging Face tokenizers. Python's own sources are on
every disk and full of ties; 20 MB of an encyclopedia are the claim.
"""

import json
import sysconfig
from pathlib import Path

import pytest

from minillm.tokenizer import Tokenizer

GPT2_REGEX = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s+"


@pytest.fixture(scope="module")
def python_sources():
    """About 3 MB of Python, each file a document."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts, size = [], 0
    for file in files:
        texts.append(file.read_text(encoding="utf-8", errors="replace"))
        size += len(texts[-1])
        if size > 3_000_000:
            break
    assert size > 2_000_000
    return texts


@pytest.fixture(scope="module")
def wikipedia(data_dir):
    """The first 20 MB of Wikipedia, cut into documents."""
    with (data_dir / "wikipedia-en-long.train-a.txt").open("rb") as file:
        text = file.read(20_000_000).decode(errors="ignore")
    return [part for part in text.split("<|endoftext|>") if part]


def merges_of(documents, vocab_size, tie_break):
    trained = Tokenizer.train(
        iter(documents), vocab_size, special_tokens=(), tie_break=tie_break, threads=2
    )
    return trained.merges


def rustbpe_merges(documents, vocab_size):
    import rustbpe

    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(documents), vocab_size, pattern=GPT2_REGEX)
    ranks = sorted(trainer.get_mergeable_ranks(), key=lambda item: item[1])
    return [bytes(token) for token, _ in ranks[256:]]


def hugging_face_merges(documents, vocab_size):
    from tokenizers import Tokenizer as HfTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = HfTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(iter(documents), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    return [tuple(bytes(byte_of[char] for char in part) for part in pair) for pair in merges]


def bytes_to_unicode():
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + i) for i, byte in enumerate(others)
    }


def test_id_merges_equal_rustbpes(python_sources):
    ours = [left + right for left, right in merges_of(python_sources, 5000, "id")]
    assert ours == rustbpe_merges(python_sources, 5000)


def test_hf_merges_equal_hugging_faces(python_sources):
    ours = merges_of(python_sources, 5000, "hf")
    assert ours == hugging_face_merges(python_sources, 5000)


@pytest.mark.data
def test_id_merges_equal_rustbpes_on_an_encyclopedia(wikipedia):
    ours = [left + right for left, right in merges_of(wikipedia, 16000, "id")]
    assert ours == rustbpe_merges(wikipedia, 16000)


@pytest.mark.data
def test_hf_merges_equal_hugging_faces_on_an_encyclopedia(wikipedia):
    assert merges_of(wikipedia, 16000, "hf") == hugging_face_merges(wikipedia, 16000)
