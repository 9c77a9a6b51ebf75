import ast

import pytest

from minillm.data.local_text import (
    DOCUMENT_BYTES,
    file_documents,
    stdlib_documents,
    write_documents,
)


def documents_of(tmp_path, data, max_bytes=10**9):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    return list(file_documents(path, max_bytes=max_bytes))


def test_separators_are_kept_to(tmp_path):
    data = b"one\n<|endoftext|>two" + b"\n" * 10_000 + b"<|endoftext|>three"
    assert documents_of(tmp_path, data) == [b"one\n", b"two" + b"\n" * 10_000, b"three"]


def test_text_without_separators_is_cut_at_line_ends(tmp_path):
    data = b"".join(b"line %d of a long book\n" % i for i in range(2000))
    documents = documents_of(tmp_path, data)
    assert b"".join(documents) == data
    assert len(documents) > 5
    assert all(document.endswith(b"\n") for document in documents)
    assert all(len(document) < DOCUMENT_BYTES + 100 for document in documents)


@pytest.mark.parametrize("unit", [b"word ", b"x"])
def test_one_long_line_is_cut_all_the_same(tmp_path, unit):
    data = unit * 30_000
    documents = documents_of(tmp_path, data)
    assert b"".join(documents) == data
    assert all(len(document) <= 2 * DOCUMENT_BYTES for document in documents)


def test_no_more_is_read_than_asked_for(tmp_path):
    assert sum(map(len, documents_of(tmp_path, b"a\n" * 50_000, max_bytes=20_000))) == 20_000


def test_empty_file_has_no_documents(tmp_path):
    assert documents_of(tmp_path, b"") == []


def test_written_file_stops_at_its_size(tmp_path):
    report = write_documents(tmp_path / "out.txt", iter([b"a" * 50] * 100), max_bytes=200)
    assert (report.documents, report.bytes) == (4, 252)
    assert (tmp_path / "out.txt").read_bytes() == (b"a" * 50 + b"<|endoftext|>") * 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_stdlib_is_python_source():
    documents = stdlib_documents()
    for _ in range(3):
        ast.parse(next(documents))
