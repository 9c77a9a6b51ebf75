import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from minillm import messages
from minillm.tokenizer import Counts, Tokenizer, commands
from minillm.tokenizer.inputs import Files

EOT = "<|endoftext|>"
COMMAND = [sys.executable, "-c", "from minillm.cli import main_bpe; main_bpe()"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"text of {name} ")


def packed(content):
    return pyarrow.compress(content, codec="zstd", asbytes=True)


def same(one, other):
    return Path(one).read_bytes() == Path(other).read_bytes()


def paths(*given):
    return Files.of(given).paths


def run(*words):
    return messages.run(commands.app, [str(word) for word in words])


def test_a_folder_stands_for_the_files_below_sorted_by_path(folder):
    touch("d/b.txt", "d/a/z.jsonl", "d/a/c.txt.gz", "d/A.TXT", "d/a-b.ndjson.zst")
    touch("d/README.md", "d/x.json", "d/x.gz", "d/.hidden.txt", "d/.git/x.txt", "d/txt")
    expected = ["d/A.TXT", "d/a/c.txt.gz", "d/a/z.jsonl", "d/a-b.ndjson.zst", "d/b.txt"]
    assert paths("d") == paths("d/") == expected


def test_arguments_keep_their_order_and_may_repeat(folder):
    touch("b.txt", "a.txt", "d/c.txt")
    assert paths("b.txt", "d", "a.txt", "b.txt") == ["b.txt", "d/c.txt", "a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("d/*", ["d/c.md", "d/c.txt"]),
        ("**/*.txt", ["a.txt", "b.txt", "d/c.txt", "d/e/f.txt"]),
        ("d/**", ["d/c.md", "d/c.txt", "d/e/f.txt"]),
        ("d/**/e/*.txt", ["d/e/f.txt"]),
        ("[ab].t?t", ["a.txt", "b.txt"]),
        (".h*", [".h.txt"]),
    ],
)
def test_a_pattern_stands_for_what_it_matches(folder, pattern, expected):
    touch("b.txt", "a.txt", "d/c.txt", "d/c.md", "d/e/f.txt", ".h.txt", "d/.h/x.txt")
    assert paths(pattern) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    touch("[ab].txt", "a.txt")
    assert paths("[ab].txt") == ["[ab].txt"]


def test_loops_of_links_end(folder):
    touch("d/a.txt", "d/e/b.txt")
    Path("d/loop").symlink_to("..")
    Path("d/e/self").symlink_to("../e")
    Path("d/dangling.txt").symlink_to("nowhere.txt")
    assert paths("d") == ["d/a.txt", "d/e/b.txt"]
    assert paths("d/**/*.txt") == ["d/a.txt", "d/e/b.txt"]


def test_linked_folders_are_read(folder):
    touch("elsewhere/a.txt")
    Path("d").mkdir()
    Path("d/link").symlink_to("../elsewhere")
    assert paths("d") == ["d/link/a.txt"]


def test_what_stands_for_no_file_is_told(folder):
    touch("d/a.md")
    with pytest.raises(ValueError, match="`d` holds no file to read") as info:
        paths("d")
    assert ".txt, .jsonl, .ndjson" in info.value.__notes__[0]
    with pytest.raises(ValueError, match=r"`\*.txt` matches no file"):
        paths("*.txt")
    with pytest.raises(ValueError, match="has `\\*\\*` twice"):
        paths("**/d/**/*.txt")
    with pytest.raises(ValueError, match="`-` is given twice"):
        paths("-", "-")
    with pytest.raises(FileNotFoundError, match=r"no.jsonl"):
        Tokenizer.train("no.jsonl", 300)


def test_a_weight_is_for_all_that_an_argument_stands_for(folder):
    touch("d/a.txt", "d/b.txt", "c.txt")
    assert Files.of(["d", "c.txt"], weights=[3, 1]).weights == [3, 3, 1]
    with pytest.raises(ValueError, match="weights: 3 for 2 files, expected one each"):
        Files.of(["d", "c.txt"], weights=[1, 2, 3])


DOCUMENTS = [f"document {i}, low lower lowest \u00e9\n" for i in range(300)]


@pytest.fixture
def kinds(folder):
    """The same documents in files of all kinds."""
    text = EOT.join(DOCUMENTS).encode()
    lines = "\n".join(json.dumps({"id": 1, "text": text}) for text in DOCUMENTS).encode()
    for name, content in (("a.txt", text), ("a.jsonl", lines)):
        (folder / name).write_bytes(content)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        (folder / f"{name}.zst").write_bytes(packed(content))
    return ["a.txt", "a.txt.gz", "a.txt.zst", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"]


def saved(counts):
    counts.save("c.counts")
    return Path("c.counts").read_bytes()


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_documents_are_the_same_in_files_of_any_kind(kinds, name):
    tokenizer = Tokenizer.train("a.txt", 300)
    assert Tokenizer.train(name, 300) == tokenizer
    assert Tokenizer.train(name, 300, max_memory=4_000_000) == tokenizer
    assert tokenizer.continued(name, 310) == tokenizer.continued("a.txt", 310)
    assert tokenizer.bytes_per_token(name) == tokenizer.bytes_per_token("a.txt")
    assert Counts.of(name).total == Counts.of("a.txt").total
    tokenizer.save("tokenizer.json")
    for source, out in (("a.txt", "x/train.bin"), (name, "y/train.bin")):
        assert run("encode", source, "--out", out, "--quiet") == 0
    assert all(same(f"x/{file}", f"y/{file}") for file in ("train.bin", "val.bin", "train.idx"))


def test_kinds_mix_in_one_call(kinds, folder):
    for verb in (("train", "--vocab-size", 300), ("count",), ("encode", "--val-fraction", 0)):
        plain, mixed = ["a.txt"] * 7, [*kinds, "-"]
        assert run(*verb, *plain, "--out", "plain.out", "--quiet") == 0
        words = [*verb, *mixed, "--out", "mixed.out", "--quiet"]
        text = (folder / "a.txt").read_bytes()
        done = subprocess.run([*COMMAND, *map(str, words)], input=text, check=False)
        assert done.returncode == 0
        if verb[0] == "train":
            assert same("plain.out", "mixed.out")
            (folder / "plain.out").rename("tokenizer.json")
        elif verb[0] == "encode":
            assert same("plain.out", "mixed.out")
        else:
            # Separators count as bytes of a corpus.
            assert Counts.load("plain.out").total == Counts.load("mixed.out").total


def test_held_out_text_may_be_of_any_kind(kinds, folder, capsys):
    (folder / "b.txt").write_text("low lower lowest")
    Path("held").mkdir()
    (folder / "held" / "a.jsonl.gz").write_bytes((folder / "a.jsonl.gz").read_bytes())
    reports = []
    for held in ("a.txt", "a.txt.zst", "held", "hel?/*"):
        words = ("train", "b.txt", "--vocab-size", 260, "--held-out", held, "--json", "--quiet")
        assert run(*words) == 0
        reports.append(json.loads(capsys.readouterr().out)["held_out_bytes_per_token"])
    assert len(set(reports)) == 1
    assert run("train", ".", "--vocab-size", 260, "--held-out", "held", "--quiet") == 2
    assert "--held-out `held/a.jsonl.gz` is trained on, too, as `held/a.jsonl.gz`" in (
        capsys.readouterr().err
    )


def test_the_field_is_chosen(folder, capsys):
    lines = [{"title": "low low", "meta": {"body": "lower lower"}}] * 3
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert Counts.of("a.jsonl", field="meta.body").total == Counts.of(["lower lower"] * 3).total
    for verb in (("train", "--vocab-size", 260), ("count", "--out", "a.counts")):
        assert run(*verb, "a.jsonl", "--quiet") == 1
        assert capsys.readouterr().err == (
            "error: a.jsonl, line 1: has no field `text`; it has `title`, `meta`\n"
        )
        assert run(*verb, "a.jsonl", "--field", "title", "--quiet") == 0
    assert run("encode", "a.jsonl", "--field", "title", "--val-fraction", 0, "--quiet") == 0
    (folder / "a.txt").write_text("low")
    assert run("count", "a.txt", "--out", "b.counts", "--field", "title", "--quiet") == 0
    assert "warning: --field `title` has no effect: no file is jsonl" in capsys.readouterr().err


@pytest.mark.filterwarnings("always:temp_dir")
@pytest.mark.parametrize("verb", [("train", "--vocab-size", 260), ("count", "--out", "b.counts")])
def test_a_temporary_folder_without_a_bound_is_said_to_have_no_effect(folder, verb, capsys):
    (folder / "a.txt").write_text("low lower")
    assert run(*verb, "a.txt", "--temp-dir", ".", "--quiet") == 0
    assert "warning: temp_dir `.` has no effect: nothing goes" in capsys.readouterr().err


def test_a_separator_is_chosen(folder):
    (folder / "a.txt").write_text("low<|end|>lower<|end|>lowest")
    Tokenizer.train("a.txt", 257, special_tokens=["<|end|>"]).save("tokenizer.json")
    words = ("encode", "a.txt", "--separator", "<|end|>", "--val-fraction", 0, "--quiet")
    assert run(*words) == 0
    ids = np.fromfile("data/train.bin", dtype="<u2")
    assert Tokenizer.load("tokenizer.json").decode(ids) == "low<|end|>lower<|end|>lowest<|end|>"


def test_a_list_of_folders_is_a_list_of_files(folder):
    touch("a/x.txt", "b/x.txt")
    assert Counts.of(["a", "b"]).total == Counts.of(["a/x.txt", "b/x.txt"]).total
    with pytest.raises(ValueError, match="`a` is a file, but 'text' is not"):
        Counts.of(["a", "text"])


def test_weights_follow_folders(folder):
    touch("d/a.txt", "d/b.txt", "c.txt")
    expected = saved(Counts.of(["d/a.txt", "d/b.txt"] * 3 + ["c.txt"]))
    assert saved(Counts.of(["d", "c.txt"], weights=[3, 1])) == expected
    words = ("count", "d", "c.txt", "--weights", 3, 1, "--out", "w.counts", "--quiet")
    assert run(*words) == 0
    assert same("w.counts", "c.counts")
