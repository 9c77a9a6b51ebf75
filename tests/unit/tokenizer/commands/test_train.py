"""Several sizes, continuing, held-out text: what `train` does besides one vocabulary."""

import json

import pytest

from minillm import messages
from minillm.tokenizer import Tokenizer, commands

EOT = "<|endoftext|>"
TEXT = "".join(f"document {i} of many, low lower lowest\n{EOT}\n" for i in range(300))
OTHER = "lower documents, and others that nobody has seen\n" * 20


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with a corpus and another text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "other.txt").write_text(OTHER)
    return tmp_path


def train(*words):
    return messages.run(commands.app, ["train", *map(str, words)])


def report(capsys, *words):
    assert train(*words, "--json", "--quiet") == 0
    return json.loads(capsys.readouterr().out)


def test_several_sizes_are_the_files_of_several_runs(folder):
    sizes = ("--vocab-size", 290, "--vocab-size", 270, "--vocab-size", 290)
    assert train("corpus.txt", *sizes, "--out", "a/t.json", "--quiet") == 0
    assert sorted(path.name for path in (folder / "a").iterdir()) == [
        *("t-270.json", "t-270.table"),
        *("t-290.json", "t-290.table"),
    ]
    for size in (270, 290):
        assert train("corpus.txt", "--vocab-size", size, "--quiet") == 0
        alone = (folder / "tokenizer.json").read_bytes()
        assert (folder / f"a/t-{size}.json").read_bytes() == alone


def test_sizes_that_are_not_reached_are_warnings_and_written_all_the_same(folder, capsys):
    sizes = ("--vocab-size", 270, "--vocab-size", 4000, "--vocab-size", 5000)
    assert train("corpus.txt", *sizes, "--min-frequency", 9, "--quiet") == 0
    got = Tokenizer.load("tokenizer-5000.json").vocab_size
    reason = "no pair of neighbours occurs 9 times any more (min_frequency)"
    assert capsys.readouterr().err.splitlines() == [
        f"warning: --vocab-size is 4000, got {got}: {reason}",
        f"warning: --vocab-size is 5000, got {got}: {reason}",
    ]
    large = (folder / "tokenizer-5000.json").read_bytes()
    assert (folder / "tokenizer-4000.json").read_bytes() == large
    assert Tokenizer.load("tokenizer-270.json").vocab_size == 270


def test_report_has_a_row_for_each_size(capsys):
    sizes = ("--vocab-size", 270, "--vocab-size", 290)
    said = report(capsys, "corpus.txt", *sizes, "--held-out", "other.txt")
    assert [row["vocabulary"] for row in said["sizes"]] == [270, 290]
    for row in said["sizes"]:
        tokenizer = Tokenizer.load(row["tokenizer"])
        assert row["bytes_per_token"] == tokenizer.bytes_per_token("corpus.txt")
        assert row["held_out_bytes_per_token"] == tokenizer.bytes_per_token("other.txt")
    assert said["vocabulary"] == 290
    assert report(capsys, "corpus.txt", "--vocab-size", 270)["sizes"] == []


def test_report_counts_merges(capsys):
    said = report(capsys, "corpus.txt", "--vocab-size", 290)
    tokenizer = Tokenizer.load("tokenizer.json")
    merges = {merge["rank"]: merge for merge in said["sample_merges"]}
    assert len(merges) == 7
    for rank, merge in merges.items():
        assert merge["count"] == tokenizer.merge_counts[rank]
        assert tokenizer.vocab[merge["id"]] == b"".join(tokenizer.merges[rank])


def test_held_out_text_is_measured_and_not_learned(capsys):
    said = report(capsys, "corpus.txt", "--vocab-size", 290, "--held-out", "other.txt")
    tokenizer = Tokenizer.load("tokenizer.json")
    assert tokenizer == Tokenizer.train("corpus.txt", 290)
    n_tokens = len(tokenizer.encode_ordinary(OTHER))
    assert (said["held_out_text_bytes"], said["held_out_tokens"]) == (len(OTHER), n_tokens)
    twice = report(capsys, "corpus.txt", "--vocab-size", 290, *["--held-out", "other.txt"] * 2)
    assert twice["held_out_tokens"] == 2 * n_tokens


def test_held_out_file_without_text_is_a_warning(folder, capsys):
    (folder / "empty.txt").write_text(EOT)
    words = ("corpus.txt", "--vocab-size", 290, "--held-out", "empty.txt", "--quiet")
    assert train(*words) == 0
    assert capsys.readouterr().err == "warning: --held-out: no text in `empty.txt`\n"


@pytest.mark.parametrize("base", ["base.json", "base"])
def test_continuing_takes_pattern_and_special_tokens_of_the_base(folder, base):
    specials = ("--special", "<|a|>", "--special", EOT)
    out = base if base.endswith(".json") else f"{base}/tokenizer.json"
    options = ("--vocab-size", 270, "--pattern", "cl100k", *specials, "--out", out)
    assert train("corpus.txt", *options, "--quiet") == 0
    words = ("other.txt", "--vocab-size", 290, "--continue-from", base)
    assert train(*words, "--quiet") == 0
    before, after = Tokenizer.load(out), Tokenizer.load("tokenizer.json")
    assert before.vocab.items() <= after.vocab.items()
    assert after.special_tokens == before.special_tokens
    assert after.pattern == "cl100k"
    assert after.merges[: len(before.merges)] == before.merges
    # What the base has may be said again.
    again = (*words, "--pattern", "cl100k", *specials, "--out", "again.json", "--quiet")
    assert train(*again) == 0
    assert (folder / "again.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("", 2, 'error: command "train" parameter --vocab-size requires an argument'),
        ("--vocab-size 300 --vocab-size 256", 1, "error: vocab_size is 256, but bytes and"),
        ("--vocab-size 300,400", 2, "error: invalid value"),
        ("--vocab-size 300 --held-out gone.txt", 1, "error: `gone.txt`: no such file or"),
        ("--vocab-size 300 --held-out /dev/null", 2, "error: --held-out `/dev/null` is no"),
        (
            "--vocab-size 300 --held-out link.txt",
            2,
            "error: --held-out `link.txt` is trained on, too, as `corpus.txt`\nhint: ",
        ),
        ("--vocab-size 300 --out other.txt --held-out other.txt", 2, "error: --out `other.txt`"),
        ("--vocab-size 300 --continue-from gone.json", 1, "error: `gone.json`: no such file"),
        ("--vocab-size 300 --continue-from corpus.txt", 1, "error: `corpus.txt`: tokenizer.json:"),
        (
            "--vocab-size 269 --continue-from base.json",
            1,
            "error: vocab_size is 269, but the tokenizer to continue from has 270 ids\n",
        ),
        (
            "--vocab-size 300 --continue-from base.json --pattern cl100k",
            1,
            "error: pattern is `cl100k`, but the tokenizer to continue from has `gpt2`\n",
        ),
        (
            "--vocab-size 300 --continue-from base.json --special <|a|>",
            1,
            'error: special_tokens is ["<|a|>"], but the tokenizer to continue from has ["<|end',
        ),
        (
            "--vocab-size 300 --continue-from base.json --out base.json",
            2,
            "error: --out `base.json` would overwrite `base.json`, which is read\nhint: ",
        ),
    ],
)
def test_bad_input_is_one_message(folder, capsys, words, code, message):
    Tokenizer.train("corpus.txt", 270).save("base.json")
    (folder / "link.txt").symlink_to("corpus.txt")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert train("corpus.txt", *words.split(), "--quiet") == code
    assert capsys.readouterr().err.startswith(message)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
