"""What a tokenizer is trained on: tells files from texts before any work starts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from minillm.tokenizer.files import FilePath
from minillm.tokenizer.inputs import Files

Corpus: TypeAlias = FilePath | Iterable[FilePath]


def files_or_texts(corpus: Corpus, *, field: str) -> Files | Iterator[str]:
    """Tells files from texts.

    A string or path alone is a file, a folder or a pattern, and so are paths in a list. Strings in
    an iterable are texts, with one exception: a list of strings that all name something that exists
    is a list of files, because that is how file names mostly arrive. Some of each is an error and
    not a guess.

    Raises:
        ValueError: If some strings of a list name files and others do not.
    """
    if isinstance(corpus, (str, os.PathLike)):
        return Files.of([corpus], field=field)
    if not isinstance(corpus, Sequence):
        return (_text(item) for item in corpus)
    files = [item for item in corpus if _names_file(item)]
    if corpus and len(files) == len(corpus):
        return Files.of(files, field=field)
    if files:
        other = next(item for item in corpus if not _names_file(item))
        error = ValueError(f"`{files[0]}` is a file, but {other!r:.60} is not")
        error.add_note("pass pathlib.Path objects for files, or a generator for texts")
        raise error
    return (_text(item) for item in corpus)


def cores() -> int:
    """Number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def warn_of_temp_dir(temp_dir: object, max_memory: int | None) -> None:
    """Says that a folder was named for what finds no room, and that all will find room."""
    if temp_dir is not None and max_memory is None:
        warnings.warn(
            f"temp_dir `{temp_dir}` has no effect: nothing goes to disk without max_memory",
            stacklevel=3,
        )


def _names_file(item: FilePath) -> bool:
    # Not `Path.exists`, which raises for a text that is too long to be a name.
    return isinstance(item, os.PathLike) or os.path.exists(item)  # noqa: PTH110


def _text(item: FilePath) -> str:
    if not isinstance(item, str):
        raise TypeError(f"an iterable to train on holds {type(item).__name__}, expected str")
    return item
