"""Text that is already on this machine, made into one file of documents.

Token files know documents by the end-of-text token between them, and some documents are held out
to validate on. So a text without that token, a book say, is cut into documents of a few kilobytes
at ends of lines, and of the Python library each source file is one.
"""

import hashlib
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"

DOCUMENT_BYTES = 4096
"""Least size of the documents that a text without separators is cut into; twice that is most."""


@dataclass(frozen=True)
class TextFile:
    """What was written: documents, each followed by the end-of-text token."""

    documents: int
    bytes: int
    sha256: str


def write_documents(path: Path, documents: Iterable[bytes], *, max_bytes: int) -> TextFile:
    """Writes documents, each followed by the end-of-text token, until the file has its size.

    Args:
        path: File to write; it appears under its name when it is whole.
        documents: May be endless.
        max_bytes: No document is begun when the file has this size.
    """
    digest = hashlib.sha256()
    n_documents = n_bytes = 0
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        for document in documents:
            data = document + END_OF_TEXT.encode()
            file.write(data)
            digest.update(data)
            n_documents += 1
            n_bytes += len(data)
            if n_bytes >= max_bytes:
                break
    partial.replace(path)
    return TextFile(n_documents, n_bytes, digest.hexdigest())


def file_documents(path: Path, *, max_bytes: int) -> Iterator[bytes]:
    """Documents of the first `max_bytes` of a text file; without separators, cut at line ends."""
    with path.open("rb") as file:
        data = file.read(max_bytes)
    separator = END_OF_TEXT.encode()
    if separator in data:
        yield from data.split(separator)
        return
    start = 0
    while start < len(data):
        end = _document_end(data, start)
        yield data[start:end]
        start = end


def _document_end(data: bytes, start: int) -> int:
    """After a line's or, in long lines, a word's end; anywhere if there is none."""
    least, most = start + DOCUMENT_BYTES, start + 2 * DOCUMENT_BYTES
    if least >= len(data):
        return len(data)
    for byte in (b"\n", b" "):
        found = data.find(byte, least, most)
        if found >= 0:
            return found + 1
    return most


def stdlib_documents() -> Iterator[bytes]:
    """The sources of the running Python's standard library, in order of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if not {"site-packages", "test", "tests", "__pycache__"} & set(path.parts):
            yield path.read_bytes()
