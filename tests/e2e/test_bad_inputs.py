"""Files that are not what they seem, given to `minillm-bpe` as a user gives them."""

import gzip
import os
import resource
import subprocess
import sys
import time

import pyarrow
import pytest

from minillm.tokenizer import Counts, Tokenizer

COMMAND = [sys.executable, "-c", "from minillm.cli import main_bpe; main_bpe()"]
LINE = '{"id": 1, "text": "low lower lowest"}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def zstd(content):
    return pyarrow.compress(content, codec="zstd", asbytes=True)


def count(*words, limit=None):
    """Counts; the exit code and what was said."""
    command = [*COMMAND, "count", *map(str, words), "--out", "a.counts", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == os.path.exists("a.counts")  # noqa: PTH110
    return done.returncode, done.stderr


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_line_1234567_is_named(folder, suffix):
    content = (LINE * 1_234_566 + "so\n" + LINE).encode()
    (folder / f"a.jsonl{suffix}").write_bytes(zstd(content) if suffix else content)
    began = time.monotonic()
    code, said = count(f"a.jsonl{suffix}")
    assert code == 1
    assert said == (
        f"error: a.jsonl{suffix}, line 1,234,567: not JSON: expected value at column 1\n"
    )
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("suffix", "pack", "junk"),
    # To gzip, 0xff are codes like any others; in zstd's literals, zeros are.
    [("gz", gzip.compress, bytes(100)), ("zst", zstd, b"\xff" * 300_000)],
)
def test_a_packed_file_that_is_cut_short_or_damaged_is_named(folder, suffix, pack, junk):
    words = " ".join(f"w{i * 7919 % 1_000_003}" for i in range(200_000)).encode()
    packed = pack(words)
    name = f"a.txt.{suffix}"
    (folder / name).write_bytes(packed[: len(packed) // 2])
    code, said = count(name)
    assert (code, said.startswith(f"error: {name}: ")) == (1, True)
    assert said.endswith(" bytes of text: it ends in the middle, as if cut short\n")
    middle = len(packed) // 2
    (folder / name).write_bytes(packed[:middle] + junk + packed[middle + len(junk) :])
    code, said = count(name)
    assert (code, said.startswith(f"error: {name}: ")) == (1, True)
    assert "damaged" in said
    (folder / name).write_bytes(words)
    code, said = count(name)
    assert (code, said.startswith(f"error: {name}: not ")) == (1, True)


def test_a_bomb_is_refused_before_it_goes_off(folder):
    (folder / "bomb.txt.zst").write_bytes(zstd(b"a " * (1 << 24)) * 1000)
    code, said = count("bomb.txt.zst")
    assert code == 1
    assert said.startswith("error: bomb.txt.zst: ")
    assert "more than 1000 each: not read on" in said


def test_files_without_text_are_no_trouble_beside_others(folder):
    for name in ("empty.txt", "empty.jsonl"):
        (folder / name).write_bytes(b"")
    (folder / "empty.txt.gz").write_bytes(gzip.compress(b""))
    (folder / "empty.jsonl.zst").write_bytes(zstd(b"\n"))
    (folder / "one.txt").write_text("low lower")
    assert count(".") == (0, "")
    assert Counts.load("a.counts").total == 2
    (folder / "a.counts").unlink()
    (folder / "nothing.gz").write_bytes(b"")
    assert count("nothing.gz") == (
        1,
        "error: nothing.gz: the file is empty, expected gzip data\n",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz"])
def test_an_unreadable_file_is_named(folder, name):
    (folder / name).write_text("text")
    (folder / name).chmod(0)
    assert count(name) == (1, f"error: `{name}`: permission denied\n")


def test_thousands_of_files_of_all_kinds_need_few_open_ones(folder):
    packed = {"gz": gzip.compress(LINE.encode()), "zst": zstd(LINE.encode())}
    (folder / "many").mkdir()
    for i in range(1000):
        (folder / "many" / f"{i}.jsonl").write_text(LINE)
        suffix = ("gz", "zst")[i % 2]
        (folder / "many" / f"{i}.ndjson.{suffix}").write_bytes(packed[suffix])
    few = (32, 32)
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few)  # noqa: E731
    assert count("many", limit=limit) == (0, "")
    assert Counts.load("a.counts").total == 2000 * 3


def test_standard_input_that_waits_behind_a_file_is_read_whole(folder):
    (folder / "first.txt").write_text("low lower " * 1_000_000)
    text = b"lowest " * 1_000_000
    command = [*COMMAND, "train", "first.txt", "-", "--vocab-size", "262", "--quiet"]
    assert subprocess.run(command, input=text, check=False).returncode == 0
    expected = Tokenizer.train(["low lower " * 1_000_000, text.decode()], 262)
    assert Tokenizer.load("tokenizer.json").merge_counts == expected.merge_counts
