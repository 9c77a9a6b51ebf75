"""A `tokenizer.json` that lies is refused in under a second, by name, and never by a panic.

What is not refused must be a tokenizer: it gives back what it encodes, and what it saves.
"""

import copy
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minillm.tokenizer import Tokenizer

EOT = "<|endoftext|>"
TEXT = ["low lower lowest, naïve café 안녕 123", "a b  c\n"]
ALL_BYTES = bytes(range(256)) + " low 12 é".encode()


def saved(tokenizer):
    return json.loads(tokenizer.to_json())


def ranked():
    tokens = [*(bytes([byte]) for byte in range(256)), b"lo", b"low", b" low", b"\xc3\xa9"]
    return Tokenizer.from_ranks({token: i for i, token in enumerate(tokens)}, {EOT: 300})


FILES = {
    "listed": saved(Tokenizer.train(TEXT * 3, 280, special_tokens=(EOT, "<a>"))),
    "ranked": saved(ranked()),
    "regex": saved(Tokenizer.train(TEXT * 3, 262, pattern=r"\w+|\W")),
}


def load(text, folder):
    """Loads the text of a file within ten seconds, or gives the message that refuses it."""
    path = folder / "tokenizer.json"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    began = time.perf_counter()
    try:
        tokenizer = Tokenizer.load(path)
    except ValueError as error:
        return str(error)
    finally:
        assert time.perf_counter() - began < 10
    return tokenizer


def check(text, folder):
    found = load(text, folder)
    if isinstance(found, str):
        assert "tokenizer.json" in found
        return
    try:
        ids = found.encode_bytes(ALL_BYTES)
    except ValueError as error:
        assert "no token for byte" in str(error) or "pattern" in str(error)
    else:
        assert found.decode_bytes(ids) == ALL_BYTES
    try:
        found.save(folder / "again.json")
    except ValueError as error:
        assert "written alike" in str(error)
    else:
        assert Tokenizer.load(folder / "again.json") == found


# Values of every type, and the worst of each.
numbers = st.sampled_from(
    [
        0,
        1,
        -1,
        255,
        2**31,
        2**32 - 1,
        2**32,
        2**63,
        2**64,
        10**400,
        0.5,
        1e308,
        float("nan"),
        -float("inf"),
    ]
)
strings = st.sampled_from(
    [
        "",
        "a",
        "Ġ",
        "Ġ Ġ",
        "a b",
        "\0",
        "\u2028",
        "é",
        "\U0010ffff",
        "\ud800",
        EOT,
        "BPE",
        "x" * 5000,
    ]
)
leaves = st.one_of(st.none(), st.booleans(), numbers, strings)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(strings, inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value, path=()):
    """The path to each part of a JSON value."""
    yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


PLACES = {name: [path for path in places(file) if path] for name, file in FILES.items()}
# Most places are tokens and merges; the others are as interesting.
RARE = {
    name: [p for p in paths if p[:2] not in (("model", "vocab"), ("model", "merges"))]
    for name, paths in PLACES.items()
}


@st.composite
def lies(draw):
    """A file with up to three parts changed, deleted, or exchanged with another part's value."""
    name = draw(st.sampled_from(sorted(FILES)))
    file = copy.deepcopy(FILES[name])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(draw(st.sampled_from([PLACES, RARE]))[name]))
        change = draw(st.sampled_from(["set", "delete", "copy", "rename"]))
        try:
            parent = inside(file, path[:-1])
            if change == "set":
                parent[path[-1]] = draw(values)
            elif change == "delete":
                del parent[path[-1]]
            elif change == "copy":
                parent[path[-1]] = copy.deepcopy(inside(file, draw(st.sampled_from(PLACES[name]))))
            else:
                parent[draw(strings)] = parent.pop(path[-1])
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier change took that place away
    return json.dumps(file, ensure_ascii=draw(st.booleans()))


def inside(value, path):
    for key in path:
        value = value[key]
    return value


PROPERTY = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


@settings(max_examples=800, **PROPERTY)
@given(text=lies())
def test_changed_files_are_refused_or_work(text, tmp_path):
    check(text, tmp_path)


@pytest.mark.slow
@settings(max_examples=100_000, **PROPERTY)
@given(text=lies())
def test_many_changed_files_are_refused_or_work(text, tmp_path):
    check(text, tmp_path)


@settings(max_examples=500, **PROPERTY)
@given(data=st.data())
def test_damaged_text_is_refused_or_works(data, tmp_path):
    text = json.dumps(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 50, len(text))))
    insert = data.draw(st.one_of(st.text(max_size=6), st.sampled_from(['"', "{", "]", "\\ud800"])))
    check(text[:start] + insert + text[end:], tmp_path)


def with_model(**fields):
    return json.dumps(FILES["listed"] | {"model": FILES["listed"]["model"] | fields})


def with_split(regex):
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    steps = {"type": "Sequence", "pretokenizers": [split, level]}
    return json.dumps(FILES["listed"] | {"pre_tokenizer": steps})


def specials_that_merge():
    """A hundred thousand special tokens, each of them in a merge: a search in each is too slow."""
    texts = [f"s{i}" for i in range(100_000)]
    added = [{"id": 1000 + i, "content": text, "special": True} for i, text in enumerate(texts)]
    merges = [[texts[i], texts[-1 - i]] for i in range(0, 100_000, 2)]
    model = FILES["listed"]["model"] | {"merges": merges}
    return json.dumps(FILES["listed"] | {"added_tokens": added, "model": model})


BIG = {
    "nesting": "[" * 1_000_000,
    "nested objects": '{"model":' * 200_000,
    "nested normalizer": with_model()[:-1]
    + ', "normalizer": '
    + "[" * 100_000
    + "]" * 100_000
    + "}",
    "a number of a million digits": with_model(dropout=7).replace(": 7,", f": {'7' * 1_000_000},"),
    "an id of 10^400": with_model().replace('"!": 33', f'"!": {10**400}'),
    "a token of five megabytes": with_model(vocab={"a": 0, "b" * 5_000_000: 1}, merges=[]),
    "special tokens that merge": specials_that_merge(),
    "a merge repeated": with_model(merges=[["l", "o"]] * 200_000),
    "merges of nothing": with_model(merges=[["x" * 1000, "y"]] * 2_000),
    "a cycle of merges": with_model(merges=[["a", "a"], ["aa", "a"], ["a", "aa"]]),
    "empty objects": with_model(vocab={}, merges=[[]] * 100_000),
    "names with lone surrogates": with_model(vocab={"\ud800": 0}, merges=[]),
    "a vocabulary that is a list": with_model(vocab=[["a", 0]]),
    "two models": with_model()[:-1] + ', "model": {}}',
    "a regex that is too large": with_split(r"((\w{1000}){1000}){1000}"),
    "a regex that looks around and is too large": with_split(r"(?=x)((\w{1000}){1000}){1000}"),
    "a regex of a million brackets": with_split("(" * 1_000_000),
    "a regex that is deep": with_split("(" * 50_000 + "a" + ")" * 50_000),
    "a regex that is no regex": with_split("[z-a]"),
    "no JSON": "\0\x01\x02",
    "nothing": "",
    "a number": "4294967296",
}


@pytest.mark.parametrize("lie", BIG)
def test_large_lies_are_refused_in_under_a_second(lie, tmp_path):
    found = load(BIG[lie], tmp_path)
    assert isinstance(found, str), lie
    assert "tokenizer.json" in found


def test_ids_near_four_billion_take_no_memory(tmp_path):
    file = copy.deepcopy(FILES["listed"])
    file["added_tokens"][0]["id"] = file["model"]["vocab"][EOT] = 2**32 - 2
    found = load(json.dumps(file), tmp_path)
    began = time.perf_counter()
    ids = found.encode(f"low{EOT}", allowed_special="all")
    assert ids[-1] == 2**32 - 2
    assert found.decode(ids) == f"low{EOT}"
    assert time.perf_counter() - began < 10


def test_ranks_that_are_runs_of_one_letter_are_read_in_a_second(tmp_path):
    runs = [b"a" * length for length in range(2, 700)]
    tokens = [*(bytes([byte]) for byte in range(256)), *runs]
    tokenizer = Tokenizer.from_ranks({token: i for i, token in enumerate(tokens)}, {})
    assert load(tokenizer.to_json(), tmp_path) == tokenizer
