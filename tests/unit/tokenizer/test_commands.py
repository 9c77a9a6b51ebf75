import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minillm import messages
from minillm.tokenizer import Tokenizer, commands
from minillm.tokenizer.commands import decode

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
TEXT = "".join(f"document {i} of many, low lower lowest\n{EOT}\n" for i in range(300))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a corpus and a tokenizer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    Tokenizer.train("corpus.txt", 300).save("tokenizer.json")
    return tmp_path


def run(*words):
    return messages.run(commands.app, [str(word) for word in words])


def piped(*words, text):
    return subprocess.run([*COMMAND, *words], input=text, capture_output=True, check=False)


def ids_of(path):
    return np.fromfile(path, dtype="<u2")


def test_train_writes_the_tokenizer_that_the_library_trains(folder):
    assert run("train", "corpus.txt", "--vocab-size", 300, "--out", "a/b/t.json", "--quiet") == 0
    assert Tokenizer.load("a/b/t.json") == Tokenizer.load("tokenizer.json")


def test_every_option_of_train_arrives(folder):
    options = ["--special", "<|a|>", "--special", "<|b|>", "--pattern", "cl100k"]
    options += ["--tie-break", "hf", "--min-frequency", 2, "--max-token-length", 5]
    assert run("train", "corpus.txt", "--vocab-size", 290, *options, "--threads", 1, "--quiet") == 0
    expected = Tokenizer.train(
        "corpus.txt",
        290,
        special_tokens=("<|a|>", "<|b|>"),
        pattern="cl100k",
        tie_break="hf",
        min_frequency=2,
        max_token_length=5,
    )
    assert Tokenizer.load("tokenizer.json") == expected


def test_pattern_none_does_not_split(folder):
    assert run("train", "corpus.txt", "--vocab-size", 300, "--pattern", "none", "--quiet") == 0
    assert Tokenizer.load("tokenizer.json").pattern is None


def test_report_of_train_is_a_table_on_stderr(folder, capsys):
    assert run("train", "corpus.txt", "--vocab-size", 300) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    for name in ("vocabulary", "bytes/token", "longest tokens", "sample merges", "time"):
        assert name in printed.err
    assert "' lowest'" in printed.err
    assert "elapsed_s" not in printed.err
    # Rank, id, count and halves of the first merge.
    assert re.search(r"^ +0  256 +900  'o' \+ 'w'$", printed.err, re.MULTILINE)


def test_report_of_train_is_json_on_stdout(folder, capsys):
    assert run("train", "corpus.txt", "--vocab-size", 300, "--json", "--quiet") == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert printed.err == ""
    assert (report["vocabulary"], report["merges"], report["bytes"]) == (300, 43, len(TEXT))
    ordinary = Tokenizer.load("tokenizer.json").encode_iterable([TEXT])
    assert report["tokens"] == sum(token != 299 for token in ordinary)
    assert report["peak_memory_bytes"] > 1_000_000
    assert report["stopped_early"] is None


def test_too_large_a_vocabulary_is_a_warning(folder, capsys):
    assert run("train", "corpus.txt", "--vocab-size", 5000, "--quiet") == 0
    assert "warning: --vocab-size is 5000, got " in capsys.readouterr().err


def test_train_reads_standard_input(folder):
    done = piped("train", "--vocab-size", "300", "--out", "piped.json", text=TEXT.encode())
    assert (done.returncode, done.stdout) == (0, b"")
    assert Tokenizer.load("piped.json") == Tokenizer.load("tokenizer.json")


def test_encode_writes_every_document_with_its_end(folder):
    assert run("encode", "corpus.txt", "--val-fraction", 0, "--quiet") == 0
    tokenizer = Tokenizer.load("data/tokenizer.json")
    ids = ids_of("data/train.bin")
    assert (ids == tokenizer.eot_id).sum() == 300
    first = tokenizer.encode("document 0 of many, low lower lowest\n")
    assert ids[: len(first) + 1].tolist() == [*first, tokenizer.eot_id]
    manifest = json.loads((folder / "data/train.json").read_text())
    assert (manifest["documents"], manifest["tokens"]) == (300, len(ids))
    assert manifest["tokenizer_sha256"] == tokenizer.sha256
    assert not (folder / "data/val.bin").exists()


def test_validation_part_takes_the_rest_of_the_documents(folder, capsys):
    assert run("encode", "corpus.txt", "--val-fraction", 0.2, "--json", "--quiet") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["train_documents"] + report["val_documents"] == 300
    assert 30 < report["val_documents"] < 100
    assert len(ids_of("data/val.bin")) == report["val_tokens"]


def test_encode_from_standard_input_equals_encode_from_a_file(folder):
    assert run("encode", "corpus.txt", "--quiet") == 0
    done = piped("encode", "--out", "piped/train.bin", "--quiet", text=TEXT.encode())
    assert done.returncode == 0
    for name in ("train.bin", "val.bin", "train.idx"):
        assert (folder / "piped" / name).read_bytes() == (folder / "data" / name).read_bytes()


def test_part_without_a_document_is_an_empty_file(folder, capsys):
    (folder / "one.txt").write_text("low lower " * 50)
    words = ["encode", "one.txt", "--part", "2/2", "--val-fraction", 0, "--json"]
    assert run(*words) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["train_tokens"], report["bytes_per_token"]) == (0, None)
    assert (folder / "data/train-002-of-002.bin").read_bytes() == b""


def test_encode_does_not_depend_on_threads(folder):
    for threads in (1, 4):
        out = f"{threads}/train.bin"
        assert run("encode", "corpus.txt", "--threads", threads, "--out", out, "--quiet") == 0
    assert ids_of("1/train.bin").tolist() == ids_of("4/train.bin").tolist()


def test_an_empty_validation_part_is_a_warning(folder, capsys):
    assert run("encode", "corpus.txt", "--val-fraction", 1e-9, "--quiet") == 0
    assert "warning: no document fell to `data/val.bin`" in capsys.readouterr().err


def test_decode_gives_back_the_text(folder, capfdbinary):
    run("encode", "corpus.txt", "--val-fraction", 0, "--quiet")
    assert run("decode", "data/train.bin") == 0
    # The line break behind each separator begins the next document.
    assert capfdbinary.readouterr().out.decode() == TEXT[: -len("\n")]
    assert run("decode", "data/train.bin", "--tokens", 3) == 0
    first = Tokenizer.load("tokenizer.json").decode(ids_of("data/train.bin")[:3])
    assert capfdbinary.readouterr().out.decode() == first


def test_decode_ends_quietly_when_its_reader_does(folder):
    run("encode", "corpus.txt", "--val-fraction", 0, "--quiet")
    np.tile(ids_of("data/train.bin"), 500).tofile("large.bin")
    words = [*COMMAND, "decode", "large.bin", "--tokenizer", "tokenizer.json"]
    decode = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert decode.stdout.read(8) == b"document"
    decode.stdout.close()
    assert decode.stderr.read() == b""
    decode.stderr.close()
    assert decode.wait(timeout=60) == 0


def test_counts_of_parts_train_what_the_whole_trains(folder, capsys):
    (folder / "more.txt").write_text("lowest of all " * 30)
    for name in ("corpus", "more"):
        assert run("count", f"{name}.txt", "--out", f"{name}.counts", "--quiet") == 0
    words = ("--vocab-size", 290, "--quiet")
    assert run("train", "corpus.txt", "more.txt", "--weights", 3, 1, *words, "--out", "a.json") == 0
    counts = ("more.counts", "corpus.counts", "--weights", 1, 3)
    assert run("train", "--from-counts", *counts, *words, "--out", "b.json", "--json") == 0
    assert Tokenizer.load("a.json") == Tokenizer.load("b.json")
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == 3 * len(TEXT) + 14 * 30


def test_count_does_not_depend_on_threads_memory_or_the_way_in(folder, capsys):
    text = "".join(f"w{i * 7919 % 1_000_003}x{i} " for i in range(50_000))
    (folder / "big.txt").write_text(text)
    for n, options in enumerate([["--threads", 1], ["--threads", 3, "--max-memory", "1.1MB"]]):
        assert run("count", "big.txt", "--out", f"{n}.counts", *options, "--json", "--quiet") == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["bytes"], report["distinct_pre_tokens"]) == (len(text), 97_505)
    assert report["spills"] >= 8
    assert report["spilled_bytes"] > 500_000
    assert piped("count", "--out", "2.counts", "--quiet", text=text.encode()).returncode == 0
    assert len({(folder / f"{n}.counts").read_bytes() for n in range(3)}) == 1


def test_bounded_training_gives_the_same_tokenizer(folder):
    (folder / "runs").mkdir()
    options = ("--max-memory", "2MB", "--temp-dir", "runs", "--quiet")
    assert run("train", "corpus.txt", "--vocab-size", 300, "--out", "a.json", *options) == 0
    assert Tokenizer.load("a.json") == Tokenizer.load("tokenizer.json")
    assert list((folder / "runs").iterdir()) == []


def test_two_counts_to_the_same_file_leave_one_of_them(folder):
    words = [*COMMAND, "count", "corpus.txt", "--out", "a.counts", "--quiet"]
    both = [subprocess.Popen(words) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert run("train", "--from-counts", "a.counts", "--vocab-size", 300, "--quiet") == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "a.counts",
        "corpus.txt",
        "tokenizer.json",
        "tokenizer.table",
    ]


@pytest.mark.parametrize("pattern", ["gpt2", "none"])
def test_from_counts_takes_only_the_pattern_that_was_counted_with(folder, capsys, pattern):
    assert run("count", "corpus.txt", "--out", "a.counts", "--pattern", pattern, "--quiet") == 0
    words = ("train", "--from-counts", "a.counts", "--vocab-size", 300, "--quiet")
    assert run(*words, "--pattern", pattern, "--special", EOT) == 0
    assert run(*words, "--pattern", "cl100k") == 1
    message = f"error: a.counts: counted with pattern `{pattern}`, expected `cl100k`\n"
    assert capsys.readouterr().err == message
    assert run(*words, "--special", "<|a|>") == 1
    message = f'error: a.counts: counted with special tokens ["{EOT}"], expected ["<|a|>"]\n'
    assert capsys.readouterr().err == message


# Bad input: one message, the right exit code, nothing left behind.


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("train gone.txt --vocab-size 300", 1, "error: `gone.txt`: no such file or directory\n"),
        ("train empty --vocab-size 300", 1, "error: `empty` holds no file to read\nhint: looked"),
        ("train empty.txt --vocab-size 300", 1, "error: empty.txt: no text to train on\n"),
        ("train corpus.txt --vocab-size 200", 1, "error: vocab_size is 200, but bytes and"),
        ("train corpus.txt --vocab-size many", 2, "error: "),
        ("train corpus.txt", 2, "error: "),
        ("train corpus.txt --vocab-size -5", 2, "error: "),
        ("train corpus.txt --vocab-size 99999999999", 2, "error: "),
        ("train corpus.txt --vocab-size 300 --threads -1", 2, "error: "),
        ("train corpus.txt --vocab-size 300 --max-token-length 0", 2, "error: "),
        ("train corpus.txt --vocab-size 300 --pattern gpt9", 1, "error: unknown pattern `gpt9`; "),
        ("train corpus.txt --vocab-size 300 --pattern (", 1, "error: pattern `(`: "),
        ("train corpus.txt --vocab-size 300 --tie-break x", 2, "error: "),
        ("train corpus.txt --vocab-size 300 --vocab-sise 3", 2, "error: unknown option: "),
        ("train corpus.txt --vocab-size 300 --out .", 2, "error: --out `.` is a folder"),
        ("train corpus.txt --vocab-size 300 --min-frequency 1" + "0" * 30, 2, "error: "),
        ("train corpus.txt --vocab-size 300 --max-token-length 1" + "0" * 30, 2, "error: "),
        ("train corpus.txt --vocab-size 300 --threads 100000", 2, "error: "),
        ("train corpus.txt --vocab-size 300 --special a", 1, 'error: special token "a": is how'),
        (
            "train corpus.txt --vocab-size 300 --out corpus.txt",
            2,
            "error: --out `corpus.txt` would overwrite `corpus.txt`, which is read\nhint: ",
        ),
        (
            "train corpus.txt --vocab-size 300 --out corpus.txt/a/t.json",
            2,
            "error: --out is `corpus.txt/a/t.json`, but `corpus.txt` is a file and not a folder",
        ),
        ("count gone.txt --out a.counts", 1, "error: `gone.txt`: no such file or directory\n"),
        ("count corpus.txt", 2, "error: "),
        ("count corpus.txt --out .", 2, "error: --out `.` is a folder"),
        ("count corpus.txt --out corpus.txt", 2, "error: --out `corpus.txt` would overwrite"),
        ("count corpus.txt --out a.counts --weights 0", 1, "error: weights: number 1 is 0, expec"),
        ("count corpus.txt --out a.counts --weights 1 2", 1, "error: weights: 2 for 1 files, "),
        ("count corpus.txt --out a.counts --weights -1", 2, "error: "),
        ("count corpus.txt --out a.counts --max-memory lots", 2, "error: "),
        (
            "count corpus.txt --out a.counts --max-memory 1kB --threads 1",
            1,
            "error: max_memory is 1000 bytes, but counting on 1 threads takes at least 524288\n",
        ),
        (
            "count corpus.txt --out a.counts --max-memory 1MB --threads 1 --temp-dir gone",
            1,
            "error: `gone`: no such file or directory\n",
        ),
        (
            "train corpus.txt --vocab-size 300 --max-memory 1MB --threads 1 --temp-dir corpus.txt",
            1,
            "error: `corpus.txt`: not a directory\n",
        ),
        (
            "train --from-counts --vocab-size 300",
            2,
            "error: --from-counts is given, but no counts file\n",
        ),
        (
            "train --from-counts corpus.txt --vocab-size 300",
            1,
            "error: corpus.txt: not a counts file\n",
        ),
        ("train --from-counts gone.counts --vocab-size 300", 1, "error: `gone.counts`: no such "),
        ("train --from-counts . --vocab-size 300", 1, "error: `.`: is a directory\n"),
        (
            "train --from-counts corpus.txt --vocab-size 300 --weights 1 2",
            1,
            "error: weights: 2 for 1 files, expected one each\n",
        ),
        ("encode gone.txt", 1, "error: `gone.txt`: no such file or directory\n"),
        ("encode empty.txt", 1, "error: data/train.bin: no document"),
        ("encode corpus.txt --tokenizer gone.json", 1, "error: `gone.json`: no such file"),
        ("encode corpus.txt --tokenizer corpus.txt", 1, "error: `corpus.txt`: "),
        ("encode corpus.txt --val-fraction 1", 2, "error: --val-fraction is 1.0, expected"),
        ("encode corpus.txt --out data/val.bin", 2, "error: --out is `data/val.bin`, which is"),
        ("encode corpus.txt --dtype uint8", 2, "error: "),
        ("encode corpus.txt --out data/val.txt", 2, "error: --out is `data/val.txt`, which is"),
        (
            "encode tokenizer.json --out tokenizer.bin",
            2,
            "error: --out `tokenizer.bin` would overwrite `tokenizer.json`, which is read\nhint: ",
        ),
        ("decode gone.bin", 1, "error: `gone.bin`: no such file or directory\n"),
    ],
)
def test_bad_input_is_one_message(folder, capsys, words, code, message):
    (folder / "empty").mkdir()
    (folder / "empty.txt").touch()
    before = (folder / "tokenizer.json").read_bytes()
    assert run(*words.split(), *(["--quiet"] if words[0] != "d" else [])) == code
    assert capsys.readouterr().err.startswith(message)
    assert (folder / "tokenizer.json").read_bytes() == before
    assert sorted(folder.rglob("*.*")) == [
        folder / name for name in ("corpus.txt", "empty.txt", "tokenizer.json")
    ]


def test_a_manifest_never_replaces_the_corpus(folder, capsys):
    (folder / "train.json").write_text(TEXT)
    assert run("encode", "train.json", "--out", "train.bin", "--quiet") == 2
    assert "--out `train.bin` would overwrite `train.json`" in capsys.readouterr().err
    assert (folder / "train.json").read_text() == TEXT


def test_what_is_no_regular_file_is_not_replaced(folder, capsys):
    os.mkfifo("pipe")
    assert run("train", "corpus.txt", "--vocab-size", 300, "--out", "pipe", "--quiet") == 2
    assert capsys.readouterr().err == "error: --out `pipe` is no regular file, expected a file\n"
    assert (folder / "pipe").is_fifo()


def test_a_folder_that_takes_no_file_is_named_before_the_work(folder, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert run("train", "corpus.txt", "--vocab-size", 300, "--out", "a/t.json", "--quiet") == 2
    message = "error: --out is `a/t.json`, but nothing may be written into `a`\n"
    assert capsys.readouterr().err == message


def test_tokenizer_beside_the_token_file_stays_as_it_is(folder):
    # Others write more into the file than this package reads.
    facts = json.loads((folder / "tokenizer.json").read_text()) | {"post_processor": {"type": "X"}}
    (folder / "tokenizer.json").write_text(json.dumps(facts))
    assert run("encode", "corpus.txt", "--out", "train.bin", "--quiet") == 0
    assert json.loads((folder / "tokenizer.json").read_text()) == facts
    assert run("decode", "train.bin", "--tokens", 1) == 0


def test_unreadable_file_is_named(folder, capsys):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (folder / "corpus.txt").chmod(0)
    assert run("train", "corpus.txt", "--vocab-size", 300) == 1
    assert capsys.readouterr().err == "error: `corpus.txt`: permission denied\n"


def test_vocabulary_above_16_bits_in_a_16_bit_file_is_refused(folder, capsys):
    Tokenizer({i: bytes([i]) for i in range(256)}, [], {EOT: 65_536}).save("wide.json")
    words = ("encode", "corpus.txt", "--tokenizer", "wide.json", "--quiet")
    assert run(*words, "--dtype", "uint16") == 1
    assert "uint16 holds ids below 65536, but the vocabulary has 65537" in capsys.readouterr().err
    assert run(*words) == 0
    assert np.fromfile("data/train.bin", dtype="<u4").max() == 65_536


def test_tokenizer_without_a_separator_is_refused(folder, capsys):
    Tokenizer.train(["abc abc"], 258, special_tokens=()).save("plain.json")
    assert run("encode", "corpus.txt", "--tokenizer", "plain.json", "--quiet") == 1
    assert "no special token `<|endoftext|>`" in capsys.readouterr().err


def test_decode_refuses_the_ids_of_another_tokenizer(folder, capsys):
    run("encode", "corpus.txt", "--quiet")
    Tokenizer.train("corpus.txt", 310).save("other.json")
    assert run("decode", "data/train.bin", "--tokenizer", "other.json") == 1
    assert "tokenizer_sha256" in capsys.readouterr().err


def test_decode_refuses_a_file_that_is_cut_short(folder, capsys):
    run("encode", "corpus.txt", "--quiet")
    os.truncate("data/train.bin", os.path.getsize("data/train.bin") - 2)  # noqa: PTH202
    assert run("decode", "data/train.bin") == 1
    assert "train.bin: `tokens` says" in capsys.readouterr().err
    os.truncate("data/train.bin", 31)
    assert run("decode", "data/train.bin") == 1
    assert "31 bytes" in capsys.readouterr().err


def test_decode_names_an_id_beyond_the_vocabulary(folder, capfd):
    np.array([97, 300, 98], dtype="<u2").tofile("bare.bin")
    assert run("decode", "bare.bin", "--tokenizer", "tokenizer.json") == 1
    message = "error: `bare.bin`: id 300 at position 1 is not in the vocabulary\n"
    assert capfd.readouterr().err == message


def test_decode_names_the_part_of_a_large_file_with_such_an_id(folder, monkeypatch, capfd):
    monkeypatch.setattr(decode, "DECODE_TOKENS", 2)
    np.array([97, 98, 97, 300], dtype="<u2").tofile("bare.bin")
    assert run("decode", "bare.bin", "--tokenizer", "tokenizer.json") == 1
    assert "error: `bare.bin, from token 2 on`: id 300 at position 1 " in capfd.readouterr().err


@pytest.mark.parametrize("command", ["train --vocab-size 300", "encode"])
def test_a_terminal_as_standard_input_is_wrong_usage(folder, command):
    master, terminal = pty.openpty()
    done = subprocess.run(
        [*COMMAND, *command.split()], stdin=terminal, capture_output=True, text=True, check=False
    )
    os.close(master)
    os.close(terminal)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no files given, and standard input is a terminal\nhint:")


def test_full_disk_is_an_error_and_leaves_nothing(folder):
    # 64 blocks of 512 bytes: as much as the shell lets a file grow.
    script = f"ulimit -f 64; exec {' '.join(map(repr, COMMAND))} encode big.txt --quiet"
    (folder / "big.txt").write_text(TEXT * 50)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "file too large" in done.stderr.lower()
    assert list((folder / "data").iterdir()) == []


@pytest.mark.parametrize("words", ["train --vocab-size 50000 --out out/t.json", "encode"])
@pytest.mark.parametrize("source", ["file", "pipe"])
def test_ctrl_c_stops_and_leaves_nothing(folder, words, source, soon_s):
    big = folder / "big.txt"
    with big.open("w") as file:
        for i in range(2_000_000):
            file.write(f"w{i * 7919 % 1_000_003}x{i} ")
    files = [str(big)] * 500 if source == "file" else []
    reads, writes = os.pipe()
    process = subprocess.Popen(
        [*READY_COMMAND, *words.split(), *files],
        stdin=reads,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.7)  # with an open pipe and nothing in it, the command waits for more
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    os.close(writes)
    os.close(reads)
    assert time.monotonic() - began < soon_s
    assert (process.returncode, errors.splitlines()[-1]) == (130, "error: interrupted")
    left = [path.name for path in folder.rglob("*") if path.is_file()]
    assert sorted(left) == ["big.txt", "corpus.txt", "tokenizer.json"]


def test_bar_is_drawn_on_a_terminal(folder):
    master, terminal = pty.openpty()
    (folder / "big.txt").write_text("".join(f"word{i} " for i in range(1_000_000)))
    words = [*COMMAND, "train", "big.txt", "--vocab-size", "200000"]
    process = subprocess.Popen(words, stderr=terminal, env=os.environ | {"TERM": "xterm"})
    os.close(terminal)
    drawn = b""
    while True:
        try:
            drawn += os.read(master, 65536)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert process.wait() == 0
    assert b"merges/s" in drawn
    assert b"s left" in drawn
    assert b"vocabulary" in drawn
