import random
from functools import partial
from pathlib import Path

import pytest

from minillm.tokenizer import Counts, Tokenizer
from minillm.tokenizer.memory import parse_memory

EOT = "<|endoftext|>"
TEXT = f"low lower lowest{EOT}low\n" * 20


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two texts that differ, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT)
    Path("b.txt").write_text("lowest of all " * 30)
    return [Path("a.txt"), Path("b.txt")]


def saved(counts):
    counts.save("saved.counts")
    return Path("saved.counts").read_bytes()


def test_counts_know_what_they_count(files):
    counts = Counts.of(files)
    assert (len(counts), counts.total) == (8, 20 * 5 + 30 * 3 + 1)
    assert counts.corpus_bytes == sum(file.stat().st_size for file in files)
    assert (counts.pattern, counts.special_tokens) == ("gpt2", [EOT])
    assert repr(counts) == f"Counts(8 pre-tokens of {counts.corpus_bytes} bytes)"


def test_counts_train_what_the_text_trains(files):
    options = {"tie_break": "hf", "min_frequency": 2, "max_token_length": 5, "specials_first": True}
    expected = Tokenizer.train(files, 266, pattern="cl100k", **options)
    assert Counts.of(files, pattern="cl100k").train(266, **options) == expected


def test_parts_add_up_however_they_are_joined(files):
    whole = saved(Counts.of(files))
    parts = [Counts.of(file) for file in files]
    assert saved(parts[1] + parts[0]) == whole
    for file, part in zip(files, parts, strict=True):
        part.save(file.with_suffix(".counts"))
    assert saved(Counts.load("b.counts", Path("a.counts"))) == whole


def test_weights_count_a_file_as_often(files):
    expected = saved(Counts.of([files[0], files[1], files[0], files[0]]))
    assert saved(Counts.of(files, weights=[3, 1])) == expected
    for file in files:
        Counts.of(file).save(file.with_suffix(".counts"))
    assert saved(Counts.load("a.counts", "b.counts", weights=[3, 1])) == expected
    three_times = Tokenizer.train([*files, *files[:1] * 2], 262)
    assert Tokenizer.train(files, 262, weights=[3, 1]) == three_times


@pytest.mark.parametrize(("name", "value"), [("max_memory", -1), ("weights", [1, -1])])
def test_negative_numbers_are_refused_by_name(files, name, value):
    with pytest.raises(ValueError, match=f"{name} is -1, expected 0 to"):
        Counts.of(files, **{name: value})
    with pytest.raises(ValueError, match=f"{name} is -1, expected 0 to"):
        Tokenizer.train(files, 262, **{name: value})


def test_a_temporary_folder_without_a_bound_is_said_to_have_no_effect(files):
    message = "temp_dir `.` has no effect: nothing goes to disk without max_memory"
    for train in (Counts.of, partial(Tokenizer.train, vocab_size=262)):
        with pytest.warns(UserWarning, match=message) as warned:
            train(files, temp_dir=".")
        assert warned[0].filename == __file__


def test_bounded_memory_changes_nothing(files):
    rng = random.Random(0)
    words = ("".join(rng.choices("abcdefgh ", k=rng.randint(1, 30))) for _ in range(60_000))
    files[0].write_text(" ".join(words))
    bounds = {"threads": 2, "max_memory": 1_000_000, "temp_dir": "."}
    with pytest.raises(ValueError, match=r"max_memory is 1000000 bytes, but holding \d+ distinct"):
        Counts.of(files, **bounds)
    bounds["max_memory"] = 5_000_000
    assert saved(Counts.of(files, **bounds)) == saved(Counts.of(files))
    assert Tokenizer.train(files, 500, **bounds) == Tokenizer.train(files, 500)
    assert sorted(map(str, Path().iterdir())) == ["a.txt", "b.txt", "saved.counts"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1]}, "weights: 1 for 2 files, expected one each"),
        ({"weights": [1, 0]}, "weights: number 2 is 0, expected 1 or more"),
        ({"weights": [1, (1 << 64) - 1]}, "the corpus has more bytes than 64 bits can tell"),
        ({"max_memory": 1000, "threads": 1}, "max_memory is 1000 bytes, but counting on 1 threads"),
        ({"pattern": "gpt3"}, "unknown pattern `gpt3`"),
        ({"special_tokens": EOT}, "expected a list of them"),
    ],
)
def test_options_that_cannot_work_are_refused(files, options, message):
    with pytest.raises(ValueError, match=message):
        Counts.of(files, **options)


def test_a_folder_that_takes_no_runs_is_named(files):
    with pytest.raises(FileNotFoundError) as caught:
        Counts.of(files, max_memory=1 << 20, threads=1, temp_dir="gone")
    assert caught.value.filename == "gone"


def test_files_that_do_not_fit_are_named(files):
    Counts.of(files).save("gpt2.counts")
    Counts.of(files, pattern=None).save("none.counts")
    Counts.of(files, special_tokens=()).save("plain.counts")
    with pytest.raises(ValueError, match=r"none.counts: counted with pattern `none`, the files "):
        Counts.load("gpt2.counts", "none.counts")
    with pytest.raises(ValueError, match=r"plain.counts: counted with special tokens \[\], the f"):
        Counts.load("gpt2.counts", "plain.counts")
    with pytest.raises(ValueError, match=r"a.txt: not a counts file"):
        Counts.load("gpt2.counts", "a.txt")
    with pytest.raises(FileNotFoundError):
        Counts.load("gone.counts")
    with pytest.raises(ValueError, match=r"no counts files"):
        Counts.load()


def test_nothing_counted_trains_nothing(files):
    Counts.of(iter([])).save("empty.counts")
    with pytest.raises(ValueError, match="no text to train on"):
        Counts.load("empty.counts").train(300)
    assert saved(Counts.load("empty.counts") + Counts.of(files)) == saved(Counts.of(files))


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("0", 0),
        ("1000", 1000),
        ("1k", 1000),
        ("1.5KB", 1500),
        ("2 MiB", 2 << 20),
        ("3g", 3 * 10**9),
        ("1Ti", 1 << 40),
        ("18446744073709551615", (1 << 64) - 1),
    ],
)
def test_amounts_of_memory_are_understood(text, n_bytes):
    assert parse_memory(text) == n_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e9", "1 XB", "1MBs", "18446744073709551616"])
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(ValueError, match="memory"):
        parse_memory(text)
