import json

import numpy as np
import pytest

from minillm import messages
from minillm.data import TokenFile
from minillm.tokenizer import Tokenizer, commands

EOT = "<|endoftext|>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a token file of 16-bit ids."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(f"low lower lowest{EOT}" * 500)
    Tokenizer.train("corpus.txt", 262).save("tokenizer.json")
    assert run("encode", "corpus.txt", "--val-fraction", 0, "--out", "train.bin", "--quiet") == 0
    return tmp_path


def run(*words):
    return messages.run(commands.app, [str(word) for word in words])


def wide(folder, ids):
    """A token file of 32-bit ids."""
    np.array(ids, "<u4").tofile(folder / "wide.bin")
    with (folder / "wide.npy").open("wb") as file:
        np.save(file, np.array(ids, "<u4"))
    return folder / "wide.npy"


def test_nanogpts_loader_reads_what_is_converted(folder):
    assert run("convert", "train.bin", "--to", "nanogpt", "--out", "bare.bin", "--quiet") == 0
    data = np.memmap("bare.bin", dtype=np.uint16, mode="r")
    assert data.tobytes() == (folder / "train.bin").read_bytes()


def test_llmcs_loader_reads_what_is_converted(folder):
    assert run("convert", "train.bin", "--to", "llmc", "--out", "c.bin", "--quiet") == 0
    with (folder / "c.bin").open("rb") as file:
        header = np.frombuffer(file.read(256 * 4), dtype=np.int32)
        tokens = np.frombuffer(file.read(), dtype=np.uint16)
    assert header[:3].tolist() == [20240520, 1, len(tokens)]
    assert not header[3:].any()
    assert tokens.tobytes() == (folder / "train.bin").read_bytes()


def test_llmcs_loader_of_llama3_reads_32_bits(folder):
    path = wide(folder, [1, 2, 70_000] * 10)
    assert run("convert", path, "--to", "llmc", "--out", "c.bin", "--quiet") == 0
    raw = (folder / "c.bin").read_bytes()
    assert np.frombuffer(raw[:1024], np.int32)[:3].tolist() == [20240801, 7, 30]
    assert np.frombuffer(raw[1024:], np.uint32).tolist() == [1, 2, 70_000] * 10


def test_numpy_maps_what_is_converted(folder):
    assert run("convert", "train.bin", "--to", "npy", "--out", "a.npy", "--quiet") == 0
    array = np.load("a.npy", mmap_mode="r", allow_pickle=False)
    assert (array.dtype, array.ndim) == (np.uint16, 1)
    assert array.tobytes() == (folder / "train.bin").read_bytes()
    np.save("theirs.npy", array)
    assert (folder / "a.npy").read_bytes() == (folder / "theirs.npy").read_bytes()


@pytest.mark.parametrize("to", ["nanogpt", "llmc", "npy"])
def test_all_layouts_are_read_back(folder, to):
    name = "x.npy" if to == "npy" else "x.bin"
    assert run("convert", "train.bin", "--to", to, "--out", name, "--quiet") == 0
    assert TokenFile(folder / name).ids.tolist() == TokenFile(folder / "train.bin").ids.tolist()
    assert run("convert", name, "--to", "nanogpt", "--out", "again.bin", "--quiet") == 0
    assert (folder / "again.bin").read_bytes() == (folder / "train.bin").read_bytes()


@pytest.mark.parametrize("to", ["nanogpt", "llmc", "npy"])
def test_all_layouts_are_decoded(folder, capfdbinary, to):
    name = "x.npy" if to == "npy" else "x.bin"
    run("convert", "train.bin", "--to", to, "--out", name, "--quiet")
    assert run("decode", name) == 0
    assert capfdbinary.readouterr().out == (folder / "corpus.txt").read_bytes()
    assert run("decode", name, "--tokens", 9) == 0
    assert (folder / "corpus.txt").read_bytes().startswith(capfdbinary.readouterr().out)


def test_joined_parts_are_converted(folder):
    for part in ("1/2", "2/2"):
        words = ["--val-fraction", 0, "--out", "all.bin", "--part", part, "--quiet"]
        assert run("encode", "corpus.txt", *words) == 0
    parts = ["./all-001-of-002.bin", "all-002-of-002.bin"]
    assert run("join", *parts, "--out", "all.bin", "--quiet") == 0
    assert run("convert", "all.bin", "--to", "nanogpt", "--out", "bare.bin", "--quiet") == 0
    assert (folder / "bare.bin").read_bytes() == (folder / "train.bin").read_bytes()


def test_report_says_what_was_written(folder, capsys):
    assert run("convert", "train.bin", "--to", "llmc", "--out", "c.bin", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    tokens = len(TokenFile(folder / "train.bin"))
    assert (report["from"], report["layout"], report["tokens"]) == ("minillm", "llmc", tokens)
    assert run("convert", "c.bin", "--to", "npy", "--out", "c.npy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["from"] == "llmc"


def test_ids_beyond_16_bits_are_refused_by_position(folder, capsys):
    path = wide(folder, [1] * 20 + [65_536])
    assert run("convert", path, "--to", "nanogpt", "--out", "x.bin") == 1
    assert "id 65536 at position 20 does not fit nanoGPT's 16 bits" in capsys.readouterr().err
    assert not (folder / "x.bin").exists()
    assert sorted(folder.glob(".x*")) == []
    path = wide(folder, [1] * 20 + [65_535])
    assert run("convert", path, "--to", "nanogpt", "--out", "x.bin", "--quiet") == 0
    assert np.fromfile("x.bin", "<u2").tolist() == [1] * 20 + [65_535]


def test_damaged_files_are_refused(folder, capsys):
    whole = (folder / "train.bin").read_bytes()
    (folder / "train.bin").write_bytes(whole[:-2])
    assert run("convert", "train.bin", "--to", "npy", "--out", "x.npy") == 1
    assert "train.bin" in capsys.readouterr().err
    assert run("convert", "gone.bin", "--to", "npy", "--out", "x.npy") == 1
    assert "gone.bin`: no such file" in capsys.readouterr().err
    assert not (folder / "x.npy").exists()


def test_a_file_is_not_converted_onto_itself(folder, capsys):
    assert run("convert", "train.bin", "--to", "llmc", "--out", "train.bin") == 2
    assert "would overwrite `train.bin`" in capsys.readouterr().err
