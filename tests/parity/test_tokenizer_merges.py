"""Merges equal those of two independent trainers and of the textbook, on real text.

`id` breaks ties as rustbpe does, `hf` as Hugging Face tokenizers. Python's own sources are on
every disk and full of ties; 8 MB of an encyclopedia and some books are the claim. All of both
takes minutes and is marked slow.
"""

import random
import sysconfig
from pathlib import Path

import pytest

from minillm.tokenizer import Counts, Tokenizer

BOOKS = "classic-books.train-a.txt"
WIKIPEDIA = "wikipedia-en-long.train-a.txt"
EOT = "<|endoftext|>"
OPTIONS = {"special_tokens": ()}


@pytest.fixture(scope="module")
def python_sources():
    """About 3 MB of Python, each file a document."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts, size = [], 0
    for file in files:
        texts.append(file.read_text(encoding="utf-8", errors="replace"))
        size += len(texts[-1])
        if size > 3_000_000:
            break
    assert size > 2_000_000
    return texts


@pytest.fixture(scope="module")
def wikipedia(data_dir):
    return documents_of(data_dir / WIKIPEDIA, 8_000_000)


@pytest.fixture(scope="module")
def books(data_dir):
    return documents_of(data_dir / BOOKS, 5_000_000)


def documents_of(file, n_bytes):
    """The first bytes of a file, cut into documents."""
    with file.open("rb") as stream:
        text = stream.read(n_bytes).decode(errors="ignore")
    return [part for part in text.split(EOT) if part]


def merges_of(documents, vocab_size, tie_break):
    trained = Tokenizer.train(
        iter(documents), vocab_size, tie_break=tie_break, threads=2, **OPTIONS
    )
    return trained.merges


def joined(merges):
    return [left + right for left, right in merges]


def test_id_merges_equal_rustbpes(python_sources, rustbpe_merges):
    ours = joined(merges_of(python_sources, 5000, "id"))
    assert ours == rustbpe_merges(python_sources, 5000)


def test_hf_merges_equal_hugging_faces(python_sources, hugging_face_merges):
    ours = merges_of(python_sources, 5000, "hf")
    assert ours == hugging_face_merges(python_sources, 5000)


@pytest.mark.data
def test_id_merges_equal_rustbpes_on_an_encyclopedia(wikipedia, rustbpe_merges):
    ours = joined(merges_of(wikipedia, 16000, "id"))
    assert ours == rustbpe_merges(wikipedia, 16000)


@pytest.mark.data
def test_hf_merges_equal_hugging_faces_on_an_encyclopedia(wikipedia, hugging_face_merges):
    assert merges_of(wikipedia, 16000, "hf") == hugging_face_merges(wikipedia, 16000)


@pytest.mark.data
def test_merges_equal_rustbpes_and_hugging_faces_on_books(
    books, rustbpe_merges, hugging_face_merges
):
    assert joined(merges_of(books, 8000, "id")) == rustbpe_merges(books, 8000)
    assert merges_of(books, 8000, "hf") == hugging_face_merges(books, 8000)


@pytest.mark.data
@pytest.mark.parametrize("tie_break", ["lex", "id", "hf"])
def test_merges_equal_the_textbooks_on_real_text(books, wikipedia, textbook_merges, tie_break):
    text = "".join(books)[:500_000] + "".join(wikipedia)[:500_000]
    assert merges_of([text], 500, tie_break) == textbook_merges([text], 500, tie_break)


@pytest.mark.data
@pytest.mark.parametrize("tie_break", ["lex", "id", "hf"])
def test_merges_do_not_depend_on_how_real_text_is_given(books, tmp_path, tie_break):
    options = OPTIONS | {"tie_break": tie_break}
    whole = tmp_path / "whole.txt"
    whole.write_text(EOT.join(books))
    expected = Tokenizer.train(whole, 4001, special_tokens=(EOT,), tie_break=tie_break).merges
    files = [tmp_path / f"{i}.txt" for i in range(len(books))]
    for file, document in zip(files, books, strict=True):
        file.write_text(document)
        Counts.of(file, **OPTIONS).save(file.with_suffix(".counts"))
    random.Random(1).shuffle(files)
    for threads in (1, 2, 5):
        given = Tokenizer.train(files, 4000, threads=threads, **options)
        assert given.merges == expected
        # In so little memory, counting works on small blocks and goes to disk again and again.
        counts = Counts.of(files, threads=threads, max_memory=threads << 20, **OPTIONS)
        assert counts.train(4000, tie_break=tie_break, threads=threads).merges == expected
    counted = Counts.load(*(file.with_suffix(".counts") for file in files))
    assert counted.train(4000, tie_break=tie_break).merges == expected


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", [BOOKS, WIKIPEDIA])
def test_merges_equal_those_of_others_on_all_of_a_text(
    data_dir, name, rustbpe_merges, hugging_face_merges
):
    documents = documents_of(data_dir / name, -1)
    assert joined(merges_of(documents, 32_000, "id")) == rustbpe_merges(documents, 32_000)
    assert merges_of(documents, 32_000, "hf") == hugging_face_merges(documents, 32_000)
