"""Ids equal tiktoken's, on the hardest text there is.

The expected ids are those of tiktoken 0.14, computed once and kept beside the text; so a newer
tiktoken with other Unicode tables cannot move the goal.
"""

import hashlib
import json

import numpy as np
import pytest

from minillm.tokenizer import Tokenizer

pytestmark = pytest.mark.data

GPT2_SPECIALS = {"<|endoftext|>": 50256}


@pytest.fixture(scope="module")
def r50k(data_dir):
    return Tokenizer.from_ranks(data_dir / "parity/tiktoken/r50k_base.tiktoken", GPT2_SPECIALS)


def json_lines(path):
    # Not `splitlines`: the lines hold raw U+2028 and U+0085.
    return [json.loads(line) for line in path.read_text().split("\n") if line]


@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_ids_of_each_edge_case_equal_tiktokens(data_dir, name):
    ranks = data_dir / f"parity/tiktoken/{name}_base.tiktoken"
    tokenizer = Tokenizer.from_ranks(ranks, {}, "gpt2" if name == "r50k" else name)
    texts = json_lines(data_dir / "torture/unicode/synthetic-edge-cases.jsonl")
    expected = json_lines(data_dir / f"parity/expected/{name}_base.edge-cases.jsonl")
    assert len(texts) == len(expected) == 4000
    wrong = [i for i in range(4000) if tokenizer.encode_ordinary(texts[i]) != expected[i]]
    assert wrong == []


def test_batch_and_stream_of_the_edge_cases_equal_tiktokens(data_dir, r50k):
    texts = json_lines(data_dir / "torture/unicode/synthetic-edge-cases.jsonl")
    expected = json_lines(data_dir / "parity/expected/r50k_base.edge-cases.jsonl")
    assert r50k.encode_batch_to_lists(texts, disallowed_special=()) == expected
    whole = "".join(texts)
    streamed = list(r50k.encode_iterable(texts, allowed_special=set()))
    assert streamed == r50k.encode_ordinary(whole)


@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_ids_of_each_file_equal_tiktokens(data_dir, name):
    ranks = data_dir / f"parity/tiktoken/{name}_base.tiktoken"
    tokenizer = Tokenizer.from_ranks(ranks, {}, "gpt2" if name == "r50k" else name)
    facts = json_lines(data_dir / "parity/expected/files.jsonl")
    facts = [fact for fact in facts if fact["encoding"] == f"{name}_base"]
    assert len(facts) == 28
    wrong = []
    for fact in facts:
        # Bytes, since text mode would turn \r\n into \n.
        text = (data_dir / fact["file"]).read_bytes().decode()
        ids = tokenizer.encode_batch([text], disallowed_special=(), threads=2)[0].astype("<u4")
        digest = hashlib.sha256(ids.tobytes()).hexdigest()
        if (len(ids), digest) != (fact["tokens"], fact["ids_u32le_sha256"]):
            wrong.append(fact["file"])
        assert tokenizer.decode(ids) == text
    assert wrong == []


def test_gpt2_files_give_the_ids_of_the_ranks(data_dir, r50k):
    folder = data_dir / "parity/gpt2"
    gpt2 = Tokenizer.from_files(folder / "encoder.json", folder / "vocab.bpe")
    text = (data_dir / "tinyshakespeare/input.txt").read_text()
    assert gpt2.vocab == r50k.vocab
    assert gpt2.special_tokens == r50k.special_tokens
    np.testing.assert_array_equal(gpt2.encode_to_numpy(text), r50k.encode_to_numpy(text))


def test_constructor_takes_gpt2s_layout_of_ids(data_dir, r50k):
    folder = data_dir / "parity/gpt2"
    gpt2 = Tokenizer.from_files(folder / "encoder.json", folder / "vocab.bpe")
    built = Tokenizer(gpt2.vocab, gpt2.merges, ["<|endoftext|>"])
    text = (data_dir / "tinystories-real-fragment/v2-prefix.txt").read_text()
    everything = {"allowed_special": "all"}
    assert built.encode(text, **everything) == r50k.encode(text, **everything)


def test_invalid_utf8_survives_gpt2s_vocabulary(data_dir, r50k):
    data = (data_dir / "torture/unicode/invalid-utf8.bin").read_bytes()
    assert r50k.decode_bytes(r50k.encode_bytes(data)) == data
