"""`as_tiktoken` does what tiktoken does, method by method: results, defaults, kinds of errors."""

import base64
import copy
import inspect
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.tokenizer import Tokenizer, as_tiktoken

EOT = "<|endoftext|>"
ENCODINGS = {
    "r50k_base": ("gpt2", {EOT: 50256}),
    "cl100k_base": ("cl100k", {EOT: 100257, "<|fim_prefix|>": 100258, "<|endofprompt|>": 100276}),
}
TEXTS = [
    "",
    "hello world",
    "naïve café 안녕하세요 👩🏼‍✈️ \r\n\n\t  12345 it's WE'LL",
    f"a{EOT}b<|fim_prefix|>c<|endofprompt|>",
    "\ud800",
    "a\udfff b \ud83d\ude42",
    f"\ud800{EOT}",
]
ALLOWED = [{}, {"allowed_special": "all"}, {"allowed_special": {EOT}}]
DISALLOWED = [
    {},
    {"disallowed_special": ()},
    {"disallowed_special": {EOT}},
    {"disallowed_special": ["<|fim_prefix|>", "hello"]},
    {"disallowed_special": "all"},
]
OPTIONS = [allowed | disallowed for allowed in ALLOWED for disallowed in DISALLOWED]


def tiny_parts():
    """Ranks without data: bytes, a few tokens of several bytes, two special tokens."""
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [b"he", b"ll", b"hell", b"hello", b" w", b"or", "é".encode(), b"\xa9 "]
    return {token: i for i, token in enumerate(tokens)}, {EOT: 300, "<|fim_prefix|>": 301}


def pair_of(name, ranks, specials, pattern, regex):
    tiktoken = pytest.importorskip("tiktoken")
    theirs = tiktoken.Encoding(name, pat_str=regex, mergeable_ranks=ranks, special_tokens=specials)
    return as_tiktoken(Tokenizer.from_ranks(ranks, specials, pattern), name), theirs


@pytest.fixture(
    scope="module",
    params=["tiny", *[pytest.param(name, marks=pytest.mark.data) for name in ENCODINGS]],
)
def pair(request):
    """Ours and tiktoken's."""
    regex = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    if request.param == "tiny":
        return pair_of("tiny", *tiny_parts(), "gpt2", regex)
    folder = request.getfixturevalue("data_dir") / "parity"
    lines = (folder / f"tiktoken/{request.param}.tiktoken").read_bytes().split(b"\n")
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines if line}
    regexes = json.loads((folder / "expected/pat_str.json").read_text())
    pattern, specials = ENCODINGS[request.param]
    return pair_of(request.param, ranks, specials, pattern, regexes[request.param])


def outcome(function, *args, **options):
    """What a call gives, or the kind of what it raises."""
    try:
        return function(*args, **options)
    except (ValueError, LookupError, OverflowError, TypeError) as error:
        return type(error)


def test_every_public_name_is_there_with_the_same_parameters(pair):
    ours, theirs = pair
    for name in dir(theirs):
        if name.startswith("_") or name == "encode_with_unstable":
            continue
        assert hasattr(ours, name), name
        if callable(getattr(theirs, name)):
            signatures = [inspect.signature(getattr(side, name)) for side in pair]
            parameters = [
                [(p.name, p.kind, p.default or None) for p in signature.parameters.values()]
                for signature in signatures
            ]
            assert parameters[0] == parameters[1], name


def test_facts_are_equal(pair):
    ours, theirs = pair
    for name in ("name", "n_vocab", "max_token_value", "eot_token", "special_tokens_set"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert repr(ours) == repr(theirs)
    assert ours.token_byte_values() == theirs.token_byte_values()
    for token in (0, 300, 50256, 100257, 100276, 10**6):
        assert ours.is_special_token(token) == theirs.is_special_token(token)


@pytest.mark.parametrize("method", ["encode", "encode_to_numpy"])
def test_encode_gives_equal_ids_or_exceptions(pair, method):
    for text in TEXTS:
        for options in OPTIONS:
            found, expected = (outcome(getattr(side, method), text, **options) for side in pair)
            if isinstance(expected, np.ndarray):
                assert found.dtype == expected.dtype
                found, expected = found.tolist(), expected.tolist()
            if expected is ValueError:
                # Of two causes, the message may name the other one.
                assert issubclass(found, ValueError), (text, options)
            else:
                assert found == expected, (text, options)


def test_a_disallowed_token_is_named(pair):
    ours, _ = pair
    with pytest.raises(ValueError, match=r"<\|endoftext\|>") as caught:
        ours.encode(f"a{EOT}")
    assert "disallowed_special" in "".join(caught.value.__notes__)


def test_ordinary_and_batches_give_equal_ids_or_exceptions(pair):
    ours, theirs = pair
    for text in TEXTS:
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    for threads in (1, 3):
        options = {"num_threads": threads}
        expected = theirs.encode_ordinary_batch(TEXTS, **options)
        assert ours.encode_ordinary_batch(TEXTS, **options) == expected
        for texts in (TEXTS, TEXTS[:3], [], tuple(TEXTS[:2])):
            for more in OPTIONS:
                both = [outcome(side.encode_batch, texts, **options, **more) for side in pair]
                assert both[0] == both[1], (texts, more)


@pytest.mark.parametrize("text", [5, b"abc", None, bytearray(b"a")])
def test_what_is_no_str_is_refused(pair, text):
    for method in ("encode", "encode_ordinary", "encode_to_numpy"):
        assert [outcome(getattr(side, method), text) for side in pair] == [TypeError] * 2
    assert [outcome(side.encode_batch, [text]) for side in pair] == [TypeError] * 2


@pytest.mark.parametrize(
    "token", ["hello", " w", b" w", "é", b"\xff", b"\xc3\xa9", EOT, "zzzzzqq", "", "\ud800", 5]
)
def test_single_tokens_are_equal(pair, token):
    found, expected = (outcome(side.encode_single_token, token) for side in pair)
    assert found == expected


BAD_IDS = [[2**31], [-1], [2**32], [2**62], ["a"], [1.5], 5, None, iter([1])]


@pytest.mark.parametrize("tokens", [[], [0], (1, 2), [256, 257, 104], np.array([1, 2]), *BAD_IDS])
def test_decoding_gives_equal_bytes_or_exceptions(pair, tokens):
    methods = ["decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"]
    for method in methods if not hasattr(tokens, "__next__") else methods[:2]:
        found, expected = (outcome(getattr(side, method), tokens) for side in pair)
        assert found == expected, method


@pytest.mark.parametrize("errors", ["strict", "replace", "ignore", "backslashreplace"])
def test_decode_takes_the_errors_that_python_knows(pair, errors):
    ids = pair[1].encode_ordinary("é")
    for tokens in (ids, [pair[1].encode_single_token(b"\xc3")], [5, 300]):
        found, expected = (outcome(side.decode, tokens, errors) for side in pair)
        assert found == expected
    batch = [ids, ids[:1]]
    found, expected = (outcome(side.decode_batch, batch, errors=errors) for side in pair)
    assert found == expected


def test_single_ids_and_batches_are_decoded(pair):
    ours, theirs = pair
    for token in (0, 97, ours.eot_token, ours.n_vocab, -1, 2**40, "a"):
        both = [outcome(side.decode_single_token_bytes, token) for side in pair]
        assert both[0] == both[1], token
    batch = [theirs.encode_ordinary(text) for text in TEXTS]
    assert ours.decode_bytes_batch(batch, num_threads=2) == theirs.decode_bytes_batch(batch)
    assert ours.decode_batch(batch) == theirs.decode_batch(batch)
    both = [outcome(side.decode_batch, [[1], [ours.n_vocab]]) for side in pair]
    assert both == [KeyError] * 2


@given(text=st.text(max_size=60))
def test_offsets_are_equal(pair, text):
    ours, theirs = pair
    ids = theirs.encode(text, disallowed_special=())
    assert ours.encode(text, disallowed_special=()) == ids
    assert ours.decode_with_offsets(ids) == theirs.decode_with_offsets(ids)


@given(data=st.data())
def test_ids_of_any_kind_decode_alike(pair, data):
    ids = data.draw(st.lists(st.integers(0, 263), max_size=20))
    for method in ("decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"):
        found, expected = (outcome(getattr(side, method), ids) for side in pair)
        assert found == expected, method


def test_copies_and_pickles_encode_alike(pair):
    ours, _ = pair
    for other in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):  # noqa: S301
        assert (other.name, other.n_vocab) == (ours.name, ours.n_vocab)
        assert other.encode(TEXTS[2]) == ours.encode(TEXTS[2])


def test_what_tiktoken_calls_unstable_is_refused_by_name():
    ours = as_tiktoken(Tokenizer.from_ranks(*tiny_parts()))
    assert ours.name == "minillm"
    with pytest.raises(NotImplementedError, match="encode_with_unstable"):
        ours.encode_with_unstable("hello fanta")


def test_a_tokenizer_without_end_of_text_has_no_eot_token():
    ours = as_tiktoken(Tokenizer.from_ranks(tiny_parts()[0], {}))
    with pytest.raises(KeyError):
        _ = ours.eot_token
