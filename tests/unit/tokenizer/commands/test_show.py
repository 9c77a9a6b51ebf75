import json

import pytest

from minillm import messages
from minillm.tokenizer import Tokenizer, commands

EOT = "<|endoftext|>"
LONG = "-" * 300


@pytest.fixture(autouse=True)
def tokenizer(tmp_path, monkeypatch):
    """A tokenizer in the working directory, with a long token and one that is no UTF-8."""
    monkeypatch.chdir(tmp_path)
    text = f"low lower lowest newer newest widest {LONG} \u0416\u0436\u0416\u0436 " * 20
    trained = Tokenizer.train([text], 285)
    trained.save("tokenizer.json")
    return trained


def show(*words):
    return messages.run(commands.app, ["show", *map(str, words)])


def test_facts_and_merges_are_printed(tokenizer, capsys):
    assert show() == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for text in ("285", "gpt2", EOT, "16.0.0", tokenizer.sha256, "first merges", "last merges"):
        assert text in printed.out
    left, right = tokenizer.merges[0]
    first = next(line for line in printed.out.splitlines() if line.split()[:2] == ["0", "256"])
    assert first.split()[2] == f"{tokenizer.merge_counts[0]:,}"
    assert first.endswith(f"{left.decode()!r} + {right.decode()!r}")


def test_number_of_merges_is_that_of_each_end(tokenizer, capsys):
    n_merges = len(tokenizer.merges)
    for wanted, first, last in [(0, 0, 0), (3, 3, 3), (20, 20, n_merges - 20), (99, n_merges, 0)]:
        assert show("--merges", wanted, "--json") == 0
        report = json.loads(capsys.readouterr().out)
        ranks = [merge["rank"] for merge in report["first_merges"] + report["last_merges"]]
        assert (len(report["first_merges"]), len(report["last_merges"])) == (first, last)
        assert ranks == sorted(set(ranks))


def test_json_is_for_programs(tokenizer, capsys):
    assert show(".", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["vocab_size"], report["vocabulary"]) == (285, 285)
    assert report["merges"] == len(tokenizer.merges)
    assert report["special_tokens"] == [{"id": 284, "token": EOT}]
    assert report["sha256"] == tokenizer.sha256
    assert [merge["count"] for merge in report["first_merges"]] == tokenizer.merge_counts[:10]


@pytest.mark.parametrize("columns", ["50", "60", "200"])
def test_no_line_is_wider_than_the_terminal(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert show("--merges", 50) == 0
    lines = capsys.readouterr().out.splitlines()
    # A hash is not cut.
    assert all(len(line) <= int(columns) for line in lines if not line.startswith("sha256"))
    assert not any(line.endswith(" ") for line in lines)


def test_counts_that_nobody_noted_are_left_out(tokenizer, capsys):
    Tokenizer(tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, tokenizer.pattern).save(
        "bare.json"
    )
    assert show("bare.json") == 0
    printed = capsys.readouterr().out
    assert "count" not in printed
    assert "rank   id  pair" in printed


def test_a_tokenizer_of_bytes_alone_is_shown(capsys):
    Tokenizer({i: bytes([i]) for i in range(256)}, [], None, None).save("bytes.json")
    assert show("bytes.json") == 0
    printed = capsys.readouterr().out
    assert "pattern          none" in printed
    assert "first merges" not in printed


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("gone.json", 1, "error: `gone.json`: no such file or directory\n"),
        ("broken.json", 1, "error: `broken.json`: tokenizer.json: "),
        ("--merges -1", 2, "error: "),
    ],
)
def test_bad_input_is_one_message(tmp_path, capsys, words, code, message):
    (tmp_path / "broken.json").write_text('{"model": {')
    assert show(*words.split()) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(message)
