"""Published vocabularies give the ids of tiktoken and of Hugging Face, whatever the text.

r50k, cl100k and o200k are read from tiktoken's ranks; Hugging Face reads what we save of them.
SmolLM2's is read from a file that Hugging Face wrote, with a step for digits that no tiktoken
vocabulary has.
"""

import base64
import json
import random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import _core
from minillm.tokenizer import Tokenizer

pytestmark = pytest.mark.data

SLICE_BYTES = 40_000
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
    """One vocabulary in three programs, in ours also with a table; tiktoken cannot have SmolLM2's.

    SmolLM2 lacks the tokens of some bytes: Hugging Face leaves them out, we refuse the text.
    """

    ours: Tokenizer
    tabled: Tokenizer
    tiktoken: object
    hugging_face: object
    texts: st.SearchStrategy

    def known(self, text):
        """`text` without the characters that have no tokens."""
        if self.tiktoken is not None:
            return text
        lacks = {byte for byte in range(256) if self.ours.token_id(bytes([byte])) is None}
        return "".join(character for character in text if not lacks & set(character.encode()))


@pytest.fixture(scope="module", params=["r50k", "cl100k", "o200k", "smollm2"])
def trio(request, data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    if request.param == "smollm2":
        three = smollm2(data_dir / "parity/smollm2-tokenizer", folder)
    else:
        three = ranked(request.param, data_dir / "parity", folder)
    ours, *others = three
    tabled = ours if request.param == "smollm2" else with_table(ours, folder)
    return Trio(ours, tabled, *others, random_texts(ours))


def with_table(tokenizer, folder):
    """The tokenizer with a table of pre-tokens of random text, as training makes one.

    Such a table holds every byte, so SmolLM2's vocabulary can have none.
    """
    trained = _core.train(
        iter([random_text(tokenizer, random.Random(-1), 50_000)]),
        300,
        smaller_sizes=[],
        base=None,
        special_tokens=[],
        specials_first=False,
        pattern=tokenizer.pattern,
        tie_break="lex",
        min_frequency=1,
        max_token_bytes=None,
        weights=(),
        threads=2,
        max_memory=None,
        temp_dir=None,
        table_entries=_core.TABLE_ENTRIES,
        progress=_core.Progress(),
    )
    table = trained.table.refitted(tokenizer)
    assert len(table) > 1000
    table.save(folder / "trained.table", tokenizer)
    return Tokenizer._of(tokenizer.with_table(folder / "trained.table"))


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


def expected_ids(trio, text):
    """What the others agree on."""
    expected = trio.hugging_face.encode(text, add_special_tokens=False).ids
    if trio.tiktoken is not None:
        assert trio.tiktoken.encode(text, allowed_special="all") == expected
    return expected


def check(trio, text):
    """All three give the same ids, ours also when they are cached, in a table and in a batch."""
    expected = expected_ids(trio, text)
    for tokenizer in (trio.ours, trio.ours, trio.tabled, trio.tabled):
        assert tokenizer.encode(text, allowed_special="all") == expected
    ids, _ = trio.ours.encode_batch([text] * 3, allowed_special="all", threads=2)
    assert ids.tolist() == expected * 3


def random_text(tokenizer, generator, n_pieces):
    """As `random_texts`, but as long as one likes: tokens, characters and white space in a row."""
    ordinary = sorted(tokenizer.vocab.keys() - tokenizer.special_tokens.values())
    tokens = generator.choices(ordinary, k=n_pieces)
    spans = [(0, 0x80), (0, 0x800), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0x10FFFF)]
    pieces = []
    for token in tokens:
        pieces.append(tokenizer.decode([token]))
        low, high = generator.choice(spans)
        characters = generator.choices(range(low, high), k=generator.randint(0, 6))
        pieces.append("".join(map(chr, characters)) + generator.choice(["", "", " ", "\n", " \n "]))
    return "".join(pieces)


def check_long(trio, seed, folder, *, n_pieces):
    """A text of several blocks has the same ids on any threads, on disk too, table or none."""
    text = trio.known(random_text(trio.ours, random.Random(seed), n_pieces))
    expected = expected_ids(trio, text)
    (folder / "text.txt").write_text(text, newline="")
    for tokenizer in (trio.ours, trio.tabled):
        for threads in (1, 2, 3):
            ids, _ = tokenizer.encode_batch([text], disallowed_special=(), threads=threads)
            assert ids.tolist() == expected
            found = tokenizer.encode_files(
                [folder / "text.txt"], folder / "text.bin", eot="none", threads=threads
            )
            assert np.fromfile(folder / "text.bin", found.train.dtype).tolist() == expected


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


@pytest.mark.parametrize("text", ["x" + "\u00c3\u00c2" * 700, "\t" + " " * 2500, "ab" * 2000])
def test_ids_of_one_long_pre_token_are_equal(trio, text):
    check(trio, trio.known(text))


def test_ids_of_a_long_text_are_equal_on_any_threads_in_any_blocks(trio, tmp_path):
    check_long(trio, 0, tmp_path, n_pieces=15_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 26))
def test_ids_of_many_long_texts_are_equal_on_any_threads_in_any_blocks(trio, seed, tmp_path):
    check_long(trio, seed, tmp_path, n_pieces=60_000)


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=64))
def test_any_bytes_come_back(trio, data):
    if trio.tiktoken is None:
        data = bytes(byte for byte in data if trio.ours.token_id(bytes([byte])) is not None)
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
