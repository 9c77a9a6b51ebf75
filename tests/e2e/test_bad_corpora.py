"""What goes wrong while `minillm-bpe` counts and trains, and text that nobody would choose."""

import json
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from minillm.tokenizer import Counts, Tokenizer

COMMAND = [sys.executable, "-c", "from minillm.cli import main_bpe; main_bpe()"]
# Says when all that the command needs is imported: Python itself does not take Ctrl-C calmly.
READY = """
import cyclopts.exceptions
from minillm.cli import main_bpe
from minillm.tokenizer.commands import count, train
print("ready", flush=True)
main_bpe()
"""
EOT = "<|endoftext|>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path


def write_distinct_words(path, n_words):
    """Text of which nearly every word is another one."""
    path.write_text("".join(f"w{i * 7919 % 1_000_003}x{i} " for i in range(n_words)))


def limited(name, amount):
    """Run before a command: the system gives it no more of something."""
    return lambda: resource.setrlimit(name, (amount, amount))


def run(*words, limit=None):
    command = [*COMMAND, *map(str, words), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert "Traceback" not in done.stderr
    return done


BOUNDED = ("--max-memory", "4MB", "--threads", 2, "--temp-dir", "runs")


def test_thousands_of_files_need_few_open_ones(folder):
    for i in range(2000):
        (folder / f"{i}.txt").write_text(f"low lower {i} ")
    few = limited(resource.RLIMIT_NOFILE, 32)
    files = sorted(folder.glob("*.txt"))
    assert run("count", *files, "--out", "a.counts", limit=few).returncode == 0
    assert Counts.load("a.counts").total == 2000 * 4
    Counts.of(files[0]).save("one.counts")
    counts = ["one.counts"] * 2000
    words = ("train", "--from-counts", *counts, "--vocab-size", 260)
    assert run(*words, limit=few).returncode == 0
    assert Tokenizer.load("tokenizer.json").merge_counts[0] >= 2000


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (b"a" * 2_000_000, ()),
        (b"\xe9" * 1_000_000, ()),
        (random.Random(1).randbytes(1_000_000), ()),
        ((b"low lower lowest" + EOT.encode()) * 1_000_000, BOUNDED),
        (b" " * 1_000_000 + b"\n" * 1_000_000, ()),
    ],
    ids=["one letter", "one broken byte", "random bytes", "one document", "white space"],
)
def test_text_that_nobody_would_choose_is_learned(folder, text, options):
    (folder / "corpus.txt").write_bytes(text)
    assert run("train", "corpus.txt", "--vocab-size", 400, *options).returncode == 0
    tokenizer = Tokenizer.load("tokenizer.json")
    head = text[:10_000]
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(head)) == head


@pytest.mark.slow
def test_a_line_of_100_megabytes_is_learned(folder):
    with (folder / "line.txt").open("w") as file:
        for i in range(100):
            file.write("".join(f"w{(i * 7919 + j) % 1_000}," for j in range(200_000)))
    done = run("train", "line.txt", "--vocab-size", 400, "--json")
    assert json.loads(done.stdout)["bytes"] > 90_000_000
    (folder / "line.txt").write_text("x" * 100_000_000)
    assert run("train", "line.txt", "--vocab-size", 400).returncode == 0
    done = run("count", "line.txt", "--out", "a.counts", *BOUNDED)
    assert done.returncode == 1
    assert done.stderr.startswith("error: line.txt: more than ")


COUNT = ("count", "big.txt", "--out", "out")
TRAIN = ("train", "big.txt", "--vocab-size", "2000", "--out", "out")


@pytest.mark.parametrize("words", [(*COUNT, *BOUNDED), TRAIN])
def test_ctrl_c_at_any_moment_leaves_nothing_or_all(folder, words):
    interrupt_at_random(folder, words, n_times=3)


@pytest.mark.slow
@pytest.mark.parametrize("words", [COUNT, (*COUNT, *BOUNDED), TRAIN])
def test_ctrl_c_at_each_of_many_moments_leaves_nothing_or_all(folder, words):
    assert 130 in interrupt_at_random(folder, words, n_times=60)


def interrupt_at_random(folder, words, n_times):
    """Interrupts a command so many times; the exit codes that came of it."""
    write_distinct_words(folder / "big.txt", 300_000)
    took_s, code, _ = interrupted(words, None)
    assert code == 0
    whole = (folder / "out").read_bytes()
    rng = random.Random(1)
    codes = set()
    for _ in range(n_times):
        for name in ("out", "out.table"):
            (folder / name).unlink(missing_ok=True)
        _, code, errors = interrupted(words, rng.uniform(0.02, took_s))
        codes.add(code)
        assert code in (0, 130, -signal.SIGINT)
        assert "Traceback" not in errors
        assert list((folder / "runs").iterdir()) == []
        left = {path.name for path in folder.iterdir()} - {"big.txt", "runs"}
        # The table comes last, and its absence costs time only.
        assert left in (set(), {"out"}, {"out", "out.table"})
        if left:
            assert (folder / "out").read_bytes() == whole
    return codes


def interrupted(words, delay_s):
    """Runs a command that hears Ctrl-C after a while; how long it took, its code and messages."""
    command = [sys.executable, "-c", READY, *map(str, words), "--quiet"]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    if delay_s is not None:
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return time.monotonic() - began, process.returncode, errors
