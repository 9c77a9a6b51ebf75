"""Encoding that is killed, interrupted or runs out of disk, and goes on where it was."""

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minillm.data import TokenFile
from minillm.messages import say
from minillm.tokenizer import Tokenizer

# Says when all that the command needs is imported.
READY = """
import sys
from minillm.cli import main_bpe
from minillm.tokenizer.commands import decode, encode, join
print("ready", flush=True)
main_bpe()
"""
EOT = "<|endoftext|>"
PARTS = ("train.bin", "train.idx", "train.json", "val.bin", "val.idx", "val.json")


def start(*words, **options):
    command = [sys.executable, "-c", READY, *map(str, words)]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, **options)
    assert process.stdout.readline() == "ready\n"
    return process


def run(*words, **options):
    process = start(*words, **options)
    output, errors = process.communicate(timeout=600)
    assert "Traceback" not in errors
    return process.returncode, output, errors


def encode(out, *words, **options):
    return run("encode", "corpus.txt", "--out", out / "train.bin", "--quiet", *words, **options)


def digests(folder):
    """Of all files but the tokenizer, the hidden ones too."""
    found = {}
    for path in folder.iterdir():
        if path.name != "tokenizer.json":
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with 12 MB of documents, a tokenizer, and what an unbroken run makes of them."""
    folder = tmp_path_factory.mktemp("corpus")
    with (folder / "corpus.txt").open("w") as file:
        for i in range(6000):
            words = " ".join(f"w{(i * 31 + j) * 7919 % 5000}" for j in range(330))
            file.write(f"document {i}: {words}\n{EOT}")
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], [EOT])
    tokenizer.save(folder / "tokenizer.json")
    with contextlib.chdir(folder):
        assert encode(folder / "whole")[0] == 0
    return folder


@pytest.fixture
def folder(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(corpus)
    return tmp_path


DURABLE = ("--sync-every", "4M")


def stopped(folder, sig, *words, after_s=0.0):
    """Starts an encode and ends it once a state is saved; its exit code and messages."""
    process = start("encode", "corpus.txt", "--out", folder / "train.bin", *DURABLE, *words)
    deadline = time.monotonic() + 60
    while not (folder / ".train.state").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(after_s)
    process.send_signal(sig)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_run_that_is_killed_and_resumed_gives_the_same_files(folder):
    rng = random.Random(1)
    for turn in range(2):
        out = folder / str(turn)
        code, _ = stopped(out, signal.SIGKILL, after_s=rng.uniform(0, 0.1))
        assert code in (0, -signal.SIGKILL)
        code, _, errors = encode(out, "--resume", "--threads", turn + 1)
        assert code == 0, errors
        assert "replacing" not in errors
        assert digests(out) == digests(folder.cwd() / "whole")


def test_ctrl_c_after_a_saved_state_can_be_resumed(folder):
    for turn in range(50):
        out = folder / str(turn)
        code, errors = stopped(out, signal.SIGINT, "--quiet")
        if code == 75:
            break
        assert code in (0, 130), errors  # it was done before the signal came
    assert code == 75
    assert errors.startswith("error: interrupted\nhint: go on from ")
    code, _, errors = run("encode", "corpus.txt", "--out", out / "train.bin", "--resume")
    assert code == 0
    assert errors.startswith(f"resuming `{out}/train.bin` from ")
    assert digests(out) == digests(folder.cwd() / "whole")


def test_leftovers_are_replaced_with_a_word_about_resuming(folder):
    stopped(folder, signal.SIGKILL)
    code, _, errors = encode(folder)
    assert code == 0
    assert errors.startswith(f"replacing an unfinished `{folder}/train.bin`: --resume would have ")
    assert digests(folder) == digests(folder.cwd() / "whole")


def test_nothing_to_resume_begins_anew_and_says_so(folder):
    code, _, errors = encode(folder, "--resume")
    assert code == 0
    assert errors == f"nothing to resume for `{folder}/train.bin`: starting from the beginning\n"


def test_other_options_are_refused_when_resuming(folder):
    stopped(folder, signal.SIGKILL)
    code, _, errors = encode(folder, "--resume", "--eot", "none")
    assert code == 1
    assert "train.bin: cannot resume: eot was append, and is none\nhint: " in errors
    state = folder / ".train.state"
    state.write_bytes(state.read_bytes().replace(b"append", b"bppend"))
    code, _, errors = encode(folder, "--resume")
    assert (code, ".train.state: `json_xxh3` is " in errors) == (1, True)


def test_second_writer_is_refused_at_once(folder):
    process = start("encode", "--out", folder / "train.bin", "--quiet", stdin=subprocess.PIPE)
    while not (folder / ".train.lock").exists():
        time.sleep(0.001)
    code, _, errors = encode(folder)
    assert code == 1
    assert errors.startswith(f"error: {folder}/train.bin: another process is writing it; ")
    process.kill()
    process.communicate()
    assert encode(folder)[0] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_full_disk_keeps_the_old_file_and_tells_the_room_that_is_needed(folder):
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12M", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk")
    try:
        (disk / "train.bin").write_bytes(b"old")
        code, _, errors = encode(disk)
        assert code == 1
        assert errors.startswith(f"error: `{disk}/train.bin`: no space left on device; the files ")
        assert "\nhint: 12." in errors
        assert sorted(path.name for path in disk.iterdir()) == ["train.bin"]
        code, _, errors = encode(disk, *DURABLE)
        assert code == 1
        assert "\nhint: make room, then go on from " in errors
        assert (disk / "train.bin").read_bytes() == b"old"
        subprocess.run(["mount", "-o", "remount,size=60M", disk], check=True)
        assert encode(disk, "--resume")[0] == 0
        assert digests(disk) == digests(folder.cwd() / "whole")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_file_size_limit_is_named_like_a_full_disk(folder):
    limit = 1 << 20
    code, _, errors = encode(
        folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert code == 1
    assert "train.bin`: file too large; the files take about " in errors
    assert list(folder.iterdir()) == []


def test_parts_joined_are_the_whole(folder):
    whole = folder.cwd() / "whole"
    for index in (1, 2, 3):
        assert encode(folder, "--part", f"{index}/3")[0] == 0
    for name in ("train", "val"):
        parts = sorted(folder.glob(f"{name}-*-of-003.bin"))
        assert b"".join(map(open_bytes, parts)) == open_bytes(whole / f"{name}.bin")
        code, output, _ = run("join", *parts, "--out", folder / f"{name}.bin", "--json")
        assert (code, json.loads(output)["parts"]) == (0, 3)
    joined, single = TokenFile(folder / "train.bin"), TokenFile(whole / "train.bin")
    joined.verify()
    assert not (folder / "train.bin").exists()
    positions = np.random.default_rng(1).integers(0, len(single), (40, 50))
    assert (joined.ids[positions] == single.ids[positions]).all()
    assert (joined.ids[100:-100] == single.ids[100:-100]).all()
    part = folder / "train-002-of-003.bin"
    code, _, errors = run("join", part, "--out", folder / "other.bin")
    assert (code, "part 1 of 3 is missing" in errors) == (1, True)
    part.unlink()
    with pytest.raises(FileNotFoundError):
        TokenFile(folder / "train.bin")


@pytest.mark.parametrize("part", ["0/3", "4/3", "one", "1/0"])
def test_part_that_is_none_is_wrong_usage(folder, part):
    code, _, errors = encode(folder, "--part", part)
    assert (code, f"--part is `{part}`, expected one such as 2/8" in errors) == (2, True)


def open_bytes(path):
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.data
def test_50_kills_of_an_encode_of_300_megabytes_change_no_byte(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    books, wikipedia = (
        next(data_dir.rglob(f"{name}*train-a.txt")) for name in ("classic-books", "wikipedia")
    )
    assert books.stat().st_size + wikipedia.stat().st_size >= 300_000_000
    with books.open("rb") as file:
        (tmp_path / "sample.txt").write_bytes(file.read(20_000_000))
    Tokenizer.train(["sample.txt"], 16_000).save("tokenizer.json")
    words = ["encode", wikipedia, books, "--sync-every", "4M", "--quiet", "--out"]
    began = time.monotonic()
    assert run(*words, "whole/train.bin")[0] == 0
    took_s = time.monotonic() - began
    whole = digests(tmp_path / "whole")
    rng, out = random.Random(4), tmp_path / "out"
    n_kills = n_durable = n_done = 0
    while n_kills < 50:
        process = start(*words, out / "train.bin", "--resume")
        time.sleep(rng.uniform(0, took_s))
        process.kill()
        process.communicate()
        if process.returncode == 0:  # done before the kill
            n_done += 1
        else:
            n_kills += 1
            n_durable += (out / ".train.state").exists()
            assert run(*words, out / "train.bin", "--resume")[0] == 0
        assert digests(out) == whole
        shutil.rmtree(out)
    # pytest shows it on request: `-s`.
    say(f"{n_kills} kills, {n_durable} after a saved state; {n_done} runs were done before theirs")
    assert n_durable >= 40
