"""Encoding of documents and pre-tokens that are far longer than any block."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minillm.tokenizer import Tokenizer

EOT = "<|endoftext|>"
N_BYTES = 48_000_000
# What encoding takes beyond what Python took before: caches, blocks, threads. Measured: 40 MB.
CONSTANT = 100_000_000

# Encodes as the command does, and tells how much memory that took at its peak.
ENCODE = """
import sys
from pathlib import Path
from minillm.tokenizer import Tokenizer

def peak():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024

tokenizer = Tokenizer.load("tokenizer.json")
tokenizer.encode_ordinary("warm")
before = peak()
tokenizer.encode_files(["corpus.txt"], "out/train.bin", val_fraction=float(sys.argv[1]), threads=2)
print(peak() - before)
"""

READY = """
from minillm.cli import main_bpe
from minillm.tokenizer.commands import encode
print("ready", flush=True)
main_bpe()
"""


def held_bytes(val_fraction):
    command = [sys.executable, "-c", ENCODE, str(val_fraction)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a tokenizer of bytes and of runs of one letter."""
    monkeypatch.chdir(tmp_path)
    runs = [b"a" * 2**power for power in range(1, 7)]
    tokens = dict(enumerate([bytes([i]) for i in range(256)] + runs))
    merges = [(run[: len(run) // 2], run[: len(run) // 2]) for run in runs]
    Tokenizer(tokens, merges, [EOT]).save("tokenizer.json")
    (tmp_path / "out").mkdir()
    return tmp_path


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux_only
@pytest.mark.parametrize("val_fraction", [0.0, 0.5])
def test_a_long_document_takes_no_more_memory_than_short_ones(folder, val_fraction):
    # An id for each byte: held, they would take twice as much as the text.
    text = ("some text " * 1000 + EOT) * 100 + "word by word; " * (N_BYTES // 14)
    (folder / "corpus.txt").write_text(text)

    assert held_bytes(val_fraction) < CONSTANT


@linux_only
def test_lines_without_spaces_take_no_more_memory_than_words(folder):
    lines = "\u4e2d\u6587\u3002\n" * (N_BYTES // 10)
    (folder / "corpus.txt").write_text(lines, encoding="utf-8")

    assert held_bytes(0.0) < CONSTANT


@linux_only
def test_one_long_pre_token_is_held_once(folder):
    # 25 bytes of memory for each of its own, it was.
    (folder / "corpus.txt").write_text("a" * N_BYTES)

    assert held_bytes(0.0) < 4 * N_BYTES + CONSTANT


@linux_only
def test_ctrl_c_is_heard_within_a_pre_token(folder):
    # Letters that do not repeat themselves: else each window would be the one before.
    letters = np.random.default_rng(0).integers(97, 123, 6 * N_BYTES, dtype=np.uint8)
    letters.tofile(folder / "corpus.txt")
    command = [sys.executable, "-c", READY, "encode", "corpus.txt", "--out", "out/train.bin"]
    process = subprocess.Popen([*command, "--quiet"], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    used_s = 0.0
    while used_s < 1.2 and process.poll() is None:  # seconds of the processor: it is at work
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        used_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=600)

    assert process.returncode == 130
    assert "Traceback" not in errors
    # Within a second where nobody else is at work.
    assert time.monotonic() - began < 20
    assert not (folder / "out" / "train.bin").exists()
