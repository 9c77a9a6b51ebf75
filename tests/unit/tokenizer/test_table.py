"""The trained-in table: written by train, found and verified by encode, never a matter of ids."""

import numpy as np
import pytest

from minillm import messages
from minillm.tokenizer import Tokenizer, commands
from minillm.tokenizer.table import with_table

EOT = "<|endoftext|>"
TEXT = "".join(f"document {i} of many, low lower lowest\n{EOT}\n" for i in range(300))


def run(*words):
    return messages.run(commands.app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a corpus, a tokenizer and its table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    assert run("train", "corpus.txt", "--vocab-size", 300, "--quiet") == 0
    return tmp_path


def encoded(*options):
    """The ids of the corpus, by the command."""
    words = ["corpus.txt", "--val-fraction", 0, "--out", "data/train.bin", "--quiet", *options]
    assert run("encode", *words) == 0
    return np.fromfile("data/train.bin", "<u2")


def expected():
    return encoded("--no-table")


def test_train_writes_a_table_that_changes_no_id(folder, capsys):
    assert (folder / "tokenizer.table").stat().st_size > 0
    assert (encoded() == expected()).all()
    assert capsys.readouterr().err == ""


def test_a_table_is_asked(folder):
    bpe = Tokenizer.load("tokenizer.json")
    assert with_table(bpe, folder / "tokenizer.json") is not bpe
    assert with_table(bpe, folder / "nowhere.json") is bpe


def test_without_a_table_the_one_of_an_earlier_tokenizer_goes(folder):
    assert run("train", "corpus.txt", "--vocab-size", 280, "--no-table", "--quiet") == 0
    assert not (folder / "tokenizer.table").exists()


def test_each_size_has_a_table_of_its_own(folder, capsys):
    sizes = ["--vocab-size", 280, "--vocab-size", 300]
    assert run("train", "corpus.txt", *sizes, "--out", "t.json", "--quiet") == 0
    for size in (280, 300):
        tokenizer = ["--tokenizer", f"t-{size}.json"]
        assert (folder / f"t-{size}.table").exists()
        assert (encoded(*tokenizer) == encoded(*tokenizer, "--no-table")).all()
    assert capsys.readouterr().err == ""


def test_continuing_and_counts_give_true_tables(folder, capsys):
    assert run("count", "corpus.txt", "--out", "a.counts", "--quiet") == 0
    train = ["train", "--vocab-size", 310, "--quiet", "--out"]
    assert run(*train, "c.json", "a.counts", "--from-counts") == 0
    assert run(*train, "d.json", "corpus.txt", "--continue-from", "tokenizer.json") == 0
    for name in ("c.json", "d.json"):
        ids = encoded("--tokenizer", name)
        assert (ids == encoded("--tokenizer", name, "--no-table")).all()
    assert capsys.readouterr().err == ""


def test_the_table_of_another_tokenizer_is_left_alone(folder, capsys):
    ids = expected()
    assert run("train", "corpus.txt", "--vocab-size", 280, "--out", "o.json", "--quiet") == 0
    (folder / "o.table").rename("tokenizer.table")
    assert (encoded() == ids).all()
    assert capsys.readouterr().err == (
        "warning: tokenizer.table: is of another tokenizer; encoding without it, which is slower\n"
    )


@pytest.mark.parametrize("at", [0, 30, 60, 3000, -1])
def test_a_damaged_table_is_left_alone(folder, capsys, at):
    ids = expected()
    table = bytearray((folder / "tokenizer.table").read_bytes())
    table[at] ^= 4
    (folder / "tokenizer.table").write_bytes(table)
    assert (encoded() == ids).all()
    assert "warning: tokenizer.table: is " in capsys.readouterr().err


def test_a_table_that_cannot_be_read_is_left_alone(folder, capsys):
    ids = expected()
    (folder / "tokenizer.table").unlink()
    (folder / "tokenizer.table").mkdir()
    assert (encoded() == ids).all()
    assert "encoding without it" in capsys.readouterr().err
