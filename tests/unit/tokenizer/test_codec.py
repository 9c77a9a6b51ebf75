import os
import pickle
import random
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from minillm.tokenizer import Tokenizer, pretokenize

EOT = "<|endoftext|>"
TEXT = "low lower lowest, new newer newest; naïve café 🏳️‍🌈 " * 4


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT, "doesn't it?"], 290)


@pytest.fixture(scope="module")
def tiny():
    """Ids with gaps, bytes in no order, a special token far above all others."""
    vocab = {9: b"a", 3: b"b", 7: b"ab", 20: b"abab", 5: b"c"}
    return Tokenizer(vocab, [(b"a", b"b"), (b"ab", b"ab")], {EOT: 1_000_000}, pattern=None)


def test_any_layout_of_ids_works(tiny):
    assert tiny.encode("ababcab") == [20, 5, 7]
    assert tiny.encode(f"a{EOT}", allowed_special="all") == [9, 1_000_000]
    assert (len(tiny), tiny.vocab_size, tiny.eot_id) == (6, 1_000_001, 1_000_000)


def test_parts_are_given_back(tiny):
    assert tiny.vocab == {3: b"b", 5: b"c", 7: b"ab", 9: b"a", 20: b"abab", 1_000_000: EOT.encode()}
    assert tiny.merges == [(b"a", b"b"), (b"ab", b"ab")]
    assert tiny.special_tokens == {EOT: 1_000_000}
    assert tiny.pattern is None


def test_special_token_missing_from_the_vocabulary_gets_the_next_id():
    tokenizer = Tokenizer({0: b"a", 4: b"b"}, [], [EOT, "<|pad|>"])
    assert tokenizer.special_tokens == {EOT: 5, "<|pad|>": 6}


def test_special_token_in_the_vocabulary_keeps_its_id():
    tokenizer = Tokenizer({0: b"a", 4: EOT.encode(), 8: b"b"}, [], [EOT])
    assert tokenizer.special_tokens == {EOT: 4}
    assert tokenizer.encode(f"a{EOT}b", allowed_special={EOT}) == [0, 4, 8]


def test_ranks_encode_as_tiktoken(tokenizer):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {token: i for i, token in tokenizer.vocab.items() if i != tokenizer.eot_id}
    special = {EOT: 4000}
    ours = Tokenizer.from_ranks(ranks, special)
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    theirs = tiktoken.Encoding("t", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    text = TEXT + EOT
    assert ours.encode(text, allowed_special="all") == theirs.encode(text, allowed_special="all")
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)


def test_special_text_is_refused_by_default(tokenizer):
    with pytest.raises(ValueError, match=r"'<\|endoftext\|>' at character 5") as caught:
        tokenizer.encode(f"naïve{EOT}")
    assert "allowed_special" in "".join(caught.value.__notes__)
    assert "disallowed_special=()" in "".join(caught.value.__notes__)


def test_allowed_special_becomes_its_id(tokenizer):
    ids = tokenizer.encode(f"a{EOT}", allowed_special={EOT})
    assert ids == [97, tokenizer.eot_id]
    assert ids == tokenizer.encode(f"a{EOT}", allowed_special="all")


def test_special_that_is_neither_allowed_nor_disallowed_is_text(tokenizer):
    ids = tokenizer.encode(EOT, disallowed_special=())
    assert tokenizer.eot_id not in ids
    assert ids == tokenizer.encode_ordinary(EOT)


def test_only_the_listed_tokens_are_disallowed():
    tokenizer = Tokenizer.train([TEXT], 270, special_tokens=(EOT, "<|a|>"))
    with pytest.raises(ValueError, match=r"<\|a\|>"):
        tokenizer.encode(f"{EOT}<|a|>", disallowed_special={"<|a|>"})
    with pytest.raises(ValueError, match=r"<\|a\|>"):
        tokenizer.encode(f"{EOT}<|a|>", allowed_special={EOT})
    assert tokenizer.encode(EOT, disallowed_special={"<|a|>"}) == tokenizer.encode_ordinary(EOT)


def test_a_string_of_special_tokens_is_refused(tokenizer):
    with pytest.raises(ValueError, match="expected 'all' or a set"):
        tokenizer.encode("a", allowed_special=EOT)


def test_longest_of_overlapping_special_tokens_wins():
    tokenizer = Tokenizer.train([TEXT], 280, special_tokens=("<a>", "<a><b>"))
    ids = tokenizer.encode("<a><b><a>", allowed_special="all")
    assert ids == [tokenizer.special_tokens["<a><b>"], tokenizer.special_tokens["<a>"]]


def test_lone_surrogate_is_named_by_its_position(tokenizer):
    for encode in (tokenizer.encode, tokenizer.encode_ordinary, tokenizer.encode_to_numpy):
        with pytest.raises(ValueError, match="lone surrogate at character 2"):
            encode("ab\ud800c")


def test_unknown_id_is_named(tokenizer, tiny):
    with pytest.raises(ValueError, match="id 290 at position 1 is not in the vocabulary"):
        tokenizer.decode([97, 290])
    with pytest.raises(ValueError, match="id 4 at position 0"):
        tiny.decode([4])
    for far in (-1, 1 << 32, 1 << 40):
        with pytest.raises(ValueError, match=f"id {far} at position 0"):
            tokenizer.decode([far])


def test_vocabulary_without_a_byte_names_it(tiny):
    with pytest.raises(ValueError, match="no token for byte 0x78"):
        tiny.encode("x")


def test_ids_of_any_integer_type_are_decoded(tokenizer):
    ids = tokenizer.encode(TEXT)
    for dtype in (np.uint16, np.uint32, np.int64, np.int32, np.uint64, np.uint8):
        array = np.array(tokenizer.encode("abc") if dtype == np.uint8 else ids, dtype=dtype)
        assert tokenizer.decode(array) == ("abc" if dtype == np.uint8 else TEXT)
    assert tokenizer.decode(tuple(ids)) == TEXT
    assert tokenizer.decode(np.array(ids, dtype=np.uint16)[::2]) == tokenizer.decode(ids[::2])
    assert tokenizer.decode([]) == ""
    for swapped in (">u2", ">u4", ">i8"):
        assert tokenizer.decode(np.array(ids, dtype=swapped)) == TEXT


def test_threads_change_nothing(tokenizer):
    ids = np.resize(np.array(tokenizer.encode(TEXT), dtype=np.uint16), 3_000_000)
    expected = tokenizer.decode_bytes(ids, threads=1)
    assert tokenizer.decode_bytes(ids, threads=3) == expected
    assert tokenizer.decode_bytes(ids) == expected
    ids[[2_999_999, 1_500_000]] = 999
    for threads in (0, 1, 3):
        with pytest.raises(ValueError, match="id 999 at position 1500000 is not in the vocabulary"):
            tokenizer.decode_bytes(ids, threads=threads)
    with pytest.raises(ValueError, match="threads is -1, expected 0 to"):
        tokenizer.decode_bytes(ids, threads=-1)


def test_arrays_of_every_layout_are_decoded(tokenizer):
    ids = np.array(tokenizer.encode(TEXT), dtype=np.uint16)
    read_only = ids.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"x" + ids.tobytes(), dtype=np.uint8)[1:].view(np.uint16)
    for array in (read_only, unaligned, memoryview(ids), ids.astype(np.int64)):
        assert tokenizer.decode(array) == TEXT
    assert tokenizer.decode(ids[::-1]) == tokenizer.decode(ids.tolist()[::-1])
    assert tokenizer.decode(ids[:0]) == ""


def test_stream_decoder_never_gives_half_a_character():
    tokenizer = Tokenizer({byte: bytes([byte]) for byte in range(256)}, [])
    stream = tokenizer.stream_decoder()
    assert [stream.push([byte]) for byte in "a\u20acb".encode()] == ["a", "", "", "\u20ac", "b"]
    assert stream.push(np.array([0xE2, 0x82], dtype=np.uint16)) == ""
    with pytest.raises(ValueError, match="id 256 at position 1 is not in the vocabulary"):
        stream.push([0xAC, 256])
    assert stream.push([0xAC]) == "\u20ac"
    stream.push([0xF0, 0x9F])
    assert (stream.finish(), stream.finish()) == ("\ufffd", "")


@pytest.mark.parametrize("wrong", [None, 5, "abc", [1.5], [2**63], np.array([1.5])])
def test_what_cannot_be_ids_is_named_by_its_type(tokenizer, wrong):
    expected = f"^ids is of type {type(wrong).__name__}, expected a sequence of integers"
    with pytest.raises(TypeError, match=expected):
        tokenizer.decode(wrong)


def test_what_is_no_text_is_named_by_its_type(tokenizer):
    with pytest.raises(TypeError, match=r"^texts\[1\] is of type int, expected str or bytes$"):
        tokenizer.encode_batch(["a", 5], disallowed_special=())


def test_a_string_is_no_list_of_special_tokens():
    with pytest.raises(ValueError, match=r"^special_tokens is '<eot>', expected a list of them$"):
        Tokenizer.train(["abc"], 300, special_tokens="<eot>")
    with pytest.raises(ValueError, match=r"^special_tokens is '<eot>'"):
        Tokenizer({0: b"a"}, [], "<eot>")


def test_cut_characters_are_replaced_or_refused(tokenizer):
    ids = list("é".encode())[:1]
    assert tokenizer.decode(ids) == "\ufffd"
    assert tokenizer.decode_bytes(ids) == b"\xc3"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(ids, errors="strict")


def test_numpy_ids_are_as_narrow_as_in_token_files(tokenizer, tiny):
    ids = tokenizer.encode_to_numpy(TEXT)
    assert ids.dtype == np.uint16
    assert ids.tolist() == tokenizer.encode(TEXT)
    assert tiny.encode_to_numpy("ab").dtype == np.uint32


def test_stream_is_lazy(tokenizer):
    def endless():
        while True:
            yield "low lower lowest\n"

    ids = tokenizer.encode_iterable(endless())
    first = [next(ids) for _ in range(1000)]
    assert tokenizer.decode(first).startswith("low lower lowest\nlow lower")


def test_stream_takes_special_tokens_unless_told_otherwise(tokenizer):
    pieces = [f"a{EOT[:5]}", f"{EOT[5:]}b"]
    assert list(tokenizer.encode_iterable(pieces)) == [97, tokenizer.eot_id, 98]
    plain = tokenizer.encode_iterable(pieces, allowed_special=set())
    assert list(plain) == tokenizer.encode_ordinary(f"a{EOT}b")


def test_a_tokenizer_cannot_be_changed(tokenizer):
    with pytest.raises(AttributeError, match="immutable"):
        tokenizer._bpe = None
    with pytest.raises(AttributeError):
        tokenizer.other = 1
    tokenizer.vocab.clear()
    assert len(tokenizer.vocab) == 290


def test_pickle_keeps_everything(tokenizer, tiny):
    for original in (tokenizer, tiny):
        copy = pickle.loads(pickle.dumps(original))  # noqa: S301
        assert copy == original
        assert hash(copy) == hash(original)
        assert copy.vocab == original.vocab
        assert copy.merges == original.merges


def test_pickle_keeps_the_meaning_of_ranks():
    # By the ranks "abc" is a + bc, as one pre-token it is taken whole, and "bcd" is unreachable.
    tokens = [bytes([byte]) for byte in range(256)] + [b"bc", b"ab", b"abc", b"bcde", b"cd"]
    ranked = Tokenizer.from_ranks({token: i for i, token in enumerate(tokens)}, {EOT: 999})
    copy = pickle.loads(pickle.dumps(ranked))  # noqa: S301
    for text in ("abc", "xabcdx", "abcde", "bcde", "cdcdab"):
        assert copy.encode(text) == ranked.encode(text)
    assert copy == ranked


def test_repr_says_what_it_is(tokenizer):
    assert repr(tokenizer) == (
        "Tokenizer(vocab_size=290, special_tokens={'<|endoftext|>': 289}, pattern='gpt2')"
    )


def test_threads_share_a_tokenizer(tokenizer):
    expected, seen = tokenizer.encode(TEXT * 50), []
    work = lambda: seen.append(tokenizer.encode(TEXT * 50))  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 8


def test_a_million_equal_characters_come_back(tokenizer):
    for character in ("a", " ", "\n", "é", "ab", "'"):
        text = character * 1_000_000
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_token_lengths_leave_out_special_tokens(tokenizer):
    lengths = tokenizer.token_bytes_lengths()
    assert lengths.shape == (290,)
    assert lengths[tokenizer.eot_id] == 0
    assert lengths[tokenizer.encode(TEXT)].sum() == len(TEXT.encode())


def test_pretokens_follow_the_pattern():
    assert pretokenize("it's  12 a") == ["it", "'s", " ", " 12", " a"]
    assert pretokenize("it's 12", None) == ["it's 12"]
    assert pretokenize("a1b", r"\d") == ["a", "1", "b"]


def test_unknown_pattern_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown pattern `gpt3`; known are gpt2, cl100k"):
        pretokenize("a", "gpt3")
    with pytest.raises(ValueError, match=r"pattern `\(`: "):
        pretokenize("a", "(")


def test_a_batch_is_one_array_and_where_its_texts_begin(tokenizer, tiny):
    texts = ["low", "", TEXT, "é"]
    ids, offsets = tokenizer.encode_batch(texts)
    assert (ids.dtype, offsets.dtype) == (np.uint16, np.uint64)
    parts = [ids[start:end].tolist() for start, end in pairwise(offsets)]
    assert parts == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch_to_lists(texts) == parts
    assert tiny.encode_batch(["ab"])[0].dtype == np.uint32


def test_a_batch_of_nothing_is_empty(tokenizer):
    ids, offsets = tokenizer.encode_batch([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    assert tokenizer.encode_batch_to_lists([]) == []


@pytest.mark.parametrize("text", ["abc", b"abc"])
def test_a_string_is_no_batch(tokenizer, text):
    with pytest.raises(ValueError, match=r"texts is b?'abc', expected a list of texts"):
        tokenizer.encode_batch(text)


def test_a_batch_of_bytes_is_as_one_of_strings(tokenizer):
    texts = ["low", "", TEXT, "é"]
    expected = tokenizer.encode_batch_to_lists(texts)
    as_bytes = [text.encode() for text in texts]
    assert tokenizer.encode_batch_to_lists(as_bytes) == expected
    assert tokenizer.encode_batch_to_lists(as_bytes[:2] + texts[2:]) == expected
    ids, _ = tokenizer.encode_batch([b"low", b"\xff\xfe"], errors="replace")
    assert tokenizer.decode_bytes(ids) == b"low\xff\xfe"


def test_special_text_in_a_batch_is_refused_by_its_place(tokenizer):
    texts = ["a", f"naïve{EOT}"]
    with pytest.raises(ValueError, match=r"^texts\[1\] holds .*endoftext.* at character 5"):
        tokenizer.encode_batch(texts)
    with pytest.raises(ValueError, match=r"^texts\[1\] holds .*endoftext.* at byte 6"):
        tokenizer.encode_batch([text.encode() for text in texts])
    with pytest.raises(ValueError, match=r"^texts\[1\] holds"):
        tokenizer.encode_batch(texts, disallowed_special=[EOT, EOT])
    ids, _ = tokenizer.encode_batch(texts, allowed_special="all")
    assert ids[-1] == tokenizer.eot_id
    ids, _ = tokenizer.encode_batch(texts, disallowed_special=())
    assert tokenizer.eot_id not in ids


def test_lone_surrogate_in_a_batch_is_named_by_its_place(tokenizer):
    for options in ({}, {"disallowed_special": ()}):
        with pytest.raises(ValueError, match=r"^texts\[1\] holds a lone surrogate at character 2"):
            tokenizer.encode_batch(["a", "ab\udfffc"], **options)


def test_lone_surrogates_are_replaced_on_request(tokenizer):
    text, clean = "a\ud800b\udfff \ud83d\ude42", "a\ufffdb\ufffd 🙂"
    expected = tokenizer.encode(clean)
    assert tokenizer.encode(text, errors="replace") == expected
    assert tokenizer.encode_ordinary(text, errors="replace") == expected
    assert tokenizer.encode_to_numpy(text, errors="replace").tolist() == expected
    assert tokenizer.encode_batch([text, "a"], errors="replace")[0][:-1].tolist() == expected
    assert tokenizer.encode(clean, errors="replace") == expected
    with pytest.raises(ValueError, match="errors is 'ignore', expected 'strict' or 'replace'"):
        tokenizer.encode(clean, errors="ignore")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("busy", [False, True])
def test_workers_forked_after_use_encode(busy):
    """Even while other threads encode, whose locks nobody in the child would ever open."""
    code = f"""
import multiprocessing, threading, warnings
from minillm.tokenizer import Tokenizer
warnings.simplefilter("ignore")
tokenizer = Tokenizer.train([{TEXT!r}], 280, threads=4)
texts = [{TEXT!r}] * 2000
def encode(_):
    return tokenizer.encode_batch(texts, threads=3)[0].sum()
expected = encode(0)
stop = threading.Event()
def loop():
    while not stop.is_set():
        encode(0)
others = [threading.Thread(target=loop) for _ in range(2 * {busy})]
for other in others:
    other.start()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(encode, range(8)) == [expected] * 8
stop.set()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_gil_is_free_while_a_batch_is_encoded(tokenizer):
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdef ", k=1000)) for _ in range(5000)]
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    began = time.monotonic()
    tokenizer.encode_batch(texts, threads=1)
    ended = time.monotonic()
    done.set()
    ticker.join()
    assert sum(began < tick < ended for tick in ticks) >= 3


def test_files_are_encoded_as_by_the_command(tokenizer, tmp_path):
    from minillm import messages
    from minillm.tokenizer.commands import app

    (tmp_path / "a.txt").write_text(f"low lower{EOT}lowest{EOT}newer{EOT}" * 20)
    tokenizer.save(tmp_path / "tokenizer.json")
    words = ["encode", tmp_path / "a.txt", "--tokenizer", tmp_path, "--out", tmp_path / "c/x.bin"]
    words += ["--val-fraction", "0.5", "--quiet"]
    assert messages.run(app, [str(word) for word in words]) == 0
    encoded = tokenizer.encode_files(
        [tmp_path / "a.txt"], tmp_path / "p/x.bin", val_fraction=0.5, threads=1
    )
    assert encoded.train.documents + encoded.val.documents == 60
    names = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert "tokenizer.json" in names
    assert "val.bin" in names
    for name in names:
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "p" / name).read_bytes()


def test_files_that_cannot_be_encoded_are_named(tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"files is `a\.txt`, expected a list of files"):
        tokenizer.encode_files("a.txt", tmp_path / "x.bin")
    with pytest.raises(FileNotFoundError):
        tokenizer.encode_files([tmp_path / "gone.txt"], tmp_path / "x.bin")
    (tmp_path / "a.txt").write_text("low")
    with pytest.raises(ValueError, match="would overwrite"):
        tokenizer.encode_files([tmp_path / "a.txt"], tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
