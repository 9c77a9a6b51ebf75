"""Published vocabularies give the ids of tiktoken and of Hugging Face, whatever the text.

r50k, cl100k and o200k are read from tiktoken's ranks; Hugging Face reads what we save of them.
SmolLM2's is read from a file that Hugging Face wrote, with a step for digits that no tiktoken
vocabulary has.
"""

import base64
import json
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm.tokenizer import Tokenizer

pytestmark = pytest.mark.data

SLICE_BYTES = 100_000
SPECIALS = {
    "r50k": {"<|endoftext|>": 50256},
    "cl100k": {
        "<|endoftext|>": 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    },
    "o200k": {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
}


class Trio(NamedTuple):
    """One vocabulary in three programs; tiktoken cannot have SmolLM2's.

    SmolLM2 lacks the tokens of some bytes: Hugging Face leaves them out, we refuse the text.
    """

    ours: Tokenizer
    tiktoken: object
    hugging_face: object
    texts: st.SearchStrategy

    def known(self, text):
        """`text` without the characters that have no tokens."""
        if self.tiktoken is not None:
            return text
        lacks = {byte for byte in range(256) if self.ours.bpe.token_id(bytes([byte])) is None}
        return "".join(character for character in text if not lacks & set(character.encode()))


@pytest.fixture(scope="module", params=["r50k", "cl100k", "o200k", "smollm2"])
def trio(request, data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    if request.param == "smollm2":
        three = smollm2(data_dir / "parity/smollm2-tokenizer", folder)
    else:
        three = ranked(request.param, data_dir / "parity", folder)
    return Trio(*three, random_texts(three[0]))


def ranked(name, parity, folder):
    import tiktoken
    from tokenizers import Tokenizer as HfTokenizer

    path, specials = parity / f"tiktoken/{name}_base.tiktoken", SPECIALS[name]
    ours = Tokenizer.from_ranks(path, specials, "gpt2" if name == "r50k" else name)
    ours.save(folder / "tokenizer.json")
    lines = [line.split() for line in path.read_bytes().split(b"\n") if line]
    encoding = tiktoken.Encoding(
        name,
        pat_str=json.loads((parity / "expected/pat_str.json").read_text())[f"{name}_base"],
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens=specials,
    )
    return ours, encoding, HfTokenizer.from_file(str(folder / "tokenizer.json"))


def smollm2(parity, folder):
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as HfTokenizer

    theirs = HfTokenizer(
        models.BPE.from_file(str(parity / "vocab.json"), str(parity / "merges.txt"))
    )
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    theirs.decoder = decoders.ByteLevel()
    vocab = json.loads((parity / "vocab.json").read_text())
    specials = sorted(vocab, key=vocab.get)[:17]
    theirs.add_special_tokens([AddedToken(text, special=True) for text in specials])
    theirs.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder / "tokenizer.json"), None, theirs


def check(trio, text):
    """All three give the same ids, ours also when they are cached and in a batch."""
    expected = trio.hugging_face.encode(text, add_special_tokens=False).ids
    if trio.tiktoken is not None:
        assert trio.tiktoken.encode(text, allowed_special="all") == expected
    for _ in range(2):
        assert trio.ours.encode(text, allowed_special="all") == expected
    ids, _ = trio.ours.encode_batch([text] * 3, allowed_special="all", threads=2)
    assert ids.tolist() == expected * 3


def random_texts(tokenizer):
    """Random tokens, random Unicode, random bytes, and all of them in a row."""
    tokens = st.lists(st.sampled_from(sorted(tokenizer.vocab)), max_size=12)
    of_tokens = tokens.map(tokenizer.decode)
    of_bytes = st.binary(max_size=24).map(lambda data: data.decode("utf-8", "replace"))
    spaces = st.text(" \n\r\t\u3000\u0085a1'", max_size=12)
    one = st.one_of(of_tokens, st.text(max_size=24), of_bytes, spaces)
    return st.one_of(one, st.lists(one, max_size=4).map("".join))


@settings(max_examples=2_000, deadline=None)
@given(data=st.data())
def test_ids_of_random_text_are_equal(trio, data):
    check(trio, trio.known(data.draw(trio.texts)))


@pytest.mark.slow
@settings(max_examples=100_000, deadline=None)
@given(data=st.data())
def test_ids_of_much_random_text_are_equal(trio, data):
    check(trio, trio.known(data.draw(trio.texts)))


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=64))
def test_any_bytes_come_back(trio, data):
    if trio.tiktoken is None:
        data = bytes(byte for byte in data if trio.ours.bpe.token_id(bytes([byte])) is not None)
    assert trio.ours.decode_bytes(trio.ours.encode_bytes(data)) == data


def test_ids_of_the_edge_cases_are_hugging_faces(trio, data_dir):
    # Not `splitlines`: the lines hold raw U+2028 and U+0085.
    lines = (data_dir / "torture/unicode/synthetic-edge-cases.jsonl").read_text().split("\n")
    texts = [json.loads(line) for line in lines if line]
    compare(trio, [trio.known(text) for text in texts])


def test_ids_of_the_torture_set_are_hugging_faces(trio, data_dir):
    """The beginning of each file; `test_tokenizer_ids` has all of it from tiktoken."""
    files = sorted((data_dir / "torture").glob("*/*.txt"))
    compare(trio, [file.read_bytes()[:SLICE_BYTES].decode(errors="ignore") for file in files])


def compare(trio, texts):
    expected = [one.ids for one in trio.hugging_face.encode_batch(texts, add_special_tokens=False)]
    found = trio.ours.encode_batch_to_lists(texts, allowed_special="all")
    assert [i for i in range(len(texts)) if found[i] != expected[i]] == []


def test_what_is_saved_reads_back_equal(trio, tmp_path):
    trio.ours.save(tmp_path / "t.json")
    assert Tokenizer.load(tmp_path / "t.json") == trio.ours
