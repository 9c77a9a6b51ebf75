"""What nobody should feed to `count` and `train`, and somebody will."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from minillm.tokenizer import Counts, Tokenizer

EOT = "<|endoftext|>"
COMMAND = [sys.executable, "-c", "from minillm.cli import main_bpe; main_bpe()"]
# The same, which says when all that it needs is imported.
READY = """
from minillm.cli import main_bpe
from minillm.tokenizer.commands import count, encode, train
print("ready", flush=True)
main_bpe()
"""
READY_COMMAND = [sys.executable, "-c", READY]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a folder for runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path


def shell(limits, *words):
    """Runs the command under limits that the shell sets."""
    script = f'{limits}; exec "$@"'
    words = ["bash", "-c", script, "bash", *COMMAND, *words]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def saved(counts):
    counts.save("saved.counts")
    with open("saved.counts", "rb") as file:  # noqa: PTH123
        return file.read()


@pytest.mark.parametrize("n_bytes", [3_000_000, pytest.param(100_000_000, marks=pytest.mark.slow)])
def test_one_long_line(folder, n_bytes):
    (folder / "line.txt").write_text("x" * n_bytes)
    counts = Counts.of("line.txt")
    assert (len(counts), counts.total, counts.corpus_bytes) == (1, 1, n_bytes)
    tokenizer = Tokenizer.train("line.txt", 275)
    assert tokenizer.encode_ordinary("x" * (1 << 18)) == [273]
    with pytest.raises(ValueError, match=r"line.txt: more than \d+ bytes of text offer no place"):
        Counts.of("line.txt", max_memory=2_000_000, threads=1)


@pytest.mark.parametrize("n_bytes", [3_000_000, pytest.param(100_000_000, marks=pytest.mark.slow)])
def test_one_long_line_of_words(folder, n_bytes):
    (folder / "line.txt").write_text("word " * (n_bytes // 5))
    bounded = Counts.of("line.txt", max_memory=2_000_000, threads=2)
    assert saved(bounded) == saved(Counts.of("line.txt"))
    assert bounded.total == n_bytes // 5 + 1


def test_one_document_many_times(folder):
    (folder / "same.txt").write_text(f"the same again and again{EOT}" * 200_000)
    counts = Counts.of("same.txt", max_memory=1_000_000, threads=2)
    assert (len(counts), counts.total) == (5 - 1, 5 * 200_000)


def test_random_bytes(folder):
    (folder / "random.bin").write_bytes(random.Random(0).randbytes(1_000_000))
    bounds = {"max_memory": 30_000_000, "threads": 2, "temp_dir": "runs"}
    assert saved(Counts.of("random.bin", **bounds)) == saved(Counts.of("random.bin"))
    assert Tokenizer.train("random.bin", 300, **bounds) == Tokenizer.train("random.bin", 300)


def test_two_thousand_files_some_of_them_empty(folder):
    names = []
    for i in range(2000):
        names.append(f"{i}.txt")
        (folder / names[-1]).write_text("" if i % 3 else f"file {i % 10} ")
    counts = Counts.of([folder / name for name in names], max_memory=2_000_000, threads=2)
    assert counts.total == 3 * 667
    limits = "ulimit -n 64"
    assert shell(limits, "count", *names, "--out", "a.counts", "--quiet").returncode == 0
    parts = [f"{i}.counts" for i in range(200)]
    for part in parts:
        Counts.load("a.counts").save(part)
    words = ("--vocab-size", "258", "--quiet")
    assert shell(limits, "train", "--from-counts", *parts, *words).returncode == 0


def test_a_disk_that_fills_during_a_spill_is_named(folder):
    (folder / "big.txt").write_text(
        "".join(f"w{i * 7919 % 1_000_003}x{i} " for i in range(200_000))
    )
    before = sorted(folder.rglob("*"))
    bounds = ("--max-memory", "1MB", "--threads", "2", "--temp-dir", "runs", "--quiet")
    done = shell("ulimit -f 512", "count", "big.txt", "--out", "a.counts", *bounds)
    assert (done.returncode, done.stderr) == (1, "error: `runs`: file too large\n")
    assert sorted(folder.rglob("*")) == before
    done = shell("ulimit -f 512", "count", "big.txt", "--out", "a.counts", "--quiet")
    assert (done.returncode, done.stderr) == (1, "error: `a.counts`: file too large\n")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("bounds", [(), ("--max-memory", "1MB", "--threads", "2")])
@pytest.mark.parametrize("words", [("count",), ("train", "--vocab-size", "50000")])
def test_a_process_that_is_ended_leaves_nothing(folder, ending, bounds, words, soon_s):
    with (folder / "big.txt").open("w") as file:
        for i in range(1_000_000):
            file.write(f"w{i * 7919 % 1_000_003}x{i} ")
    before = sorted(folder.rglob("*"))
    files = ["big.txt"] * 1000
    process = subprocess.Popen(
        [*READY_COMMAND, *words, *files, "--out", "a.out", "--temp-dir", "runs", *bounds],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.7)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(ending)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < soon_s
    if ending == signal.SIGINT:
        assert (process.returncode, errors.splitlines()[-1]) == (130, "error: interrupted")
    assert sorted(folder.rglob("*")) == before


def test_an_error_in_one_file_does_not_wait_for_the_others(folder, soon_s):
    (folder / "big.txt").write_text("word " * 4_000_000)
    began = time.monotonic()
    with pytest.raises(FileNotFoundError):
        Counts.of([folder / "gone.txt", *[folder / "big.txt"] * 2000], threads=2)
    assert time.monotonic() - began < soon_s


def test_standard_input_that_has_no_end_is_counted_until_ctrl_c(folder):
    yes = subprocess.Popen(["yes", "word"], stdout=subprocess.PIPE)
    process = subprocess.Popen(
        [*READY_COMMAND, "count", "--out", "a.counts"],
        stdin=yes.stdout,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    yes.kill()
    yes.stdout.close()
    yes.wait()
    assert os.listdir() == ["runs"]  # noqa: PTH208
