"""What a tokenizer is trained on: tells files from texts before any work starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TypeAlias, cast

from minillm.messages import UsageError, with_hint
from minillm.tokenizer.files import FilePath

Corpus: TypeAlias = FilePath | Iterable[FilePath]


def files_or_texts(corpus: Corpus) -> list[str] | Iterator[str]:
    """Tells files from texts.

    A string or path alone is a file, and paths in a list are files. Strings in an iterable are
    texts, with one exception: a list of strings that all name existing files is a list of files,
    because that is how file names mostly arrive. Some of each is an error and not a guess.

    Returns:
        The names of the files, or an iterator over the texts.

    Raises:
        ValueError: If some strings of a list name files and others do not.
    """
    if isinstance(corpus, (str, os.PathLike)):
        return [os.fspath(corpus)]
    if not isinstance(corpus, Sequence):
        return (_text(item) for item in corpus)
    files = [item for item in corpus if _names_file(item)]
    if corpus and len(files) == len(corpus):
        return [os.fspath(item) for item in files]
    if files:
        other = next(item for item in corpus if not _names_file(item))
        error = ValueError(f"`{files[0]}` is a file, but {other!r:.60} is not")
        error.add_note("pass pathlib.Path objects for files, or a generator for texts")
        raise error
    return (_text(item) for item in corpus)


def files_or_stdin(files: tuple[Path, ...]) -> list[str] | BufferedReader:
    """The files to read, or else standard input.

    The extension reads standard input through Python's object and not by itself, because a read
    that waits for a slow writer hears Ctrl-C only in Python.
    """
    if files:
        return [str(file) for file in files]
    if sys.stdin.isatty():
        raise with_hint(
            UsageError("no files given, and standard input is a terminal"),
            "name text files, or pipe text in: `cat corpus.txt | minillm-bpe ...`",
        )
    return cast("BufferedReader", sys.stdin.buffer)


def cores() -> int:
    """Number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _names_file(item: FilePath) -> bool:
    # Not `Path.is_file`, which raises for a text that is too long to be a name.
    return isinstance(item, os.PathLike) or os.path.isfile(item)  # noqa: PTH113


def _text(item: FilePath) -> str:
    if not isinstance(item, str):
        raise TypeError(f"an iterable to train on holds {type(item).__name__}, expected str")
    return item
