"""Files: errors that name them, and writes that are done or not done."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

FilePath: TypeAlias = str | os.PathLike[str]


@contextmanager
def named_in_errors(path: FilePath) -> Iterator[None]:
    """Puts `path` before the message of a `ValueError` about its content."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"`{os.fspath(path)}`: {error}") from error


def write_atomically(path: FilePath, text: str) -> None:
    """Writes `text` so that `path` holds all of it or what it held before."""
    with written_aside(path) as file:
        file.write(text.encode())


@contextmanager
def written_aside(path: FilePath) -> Iterator[BinaryIO]:
    """A file that gets the name `path` when all is written, and vanishes if that fails."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = os.fspath(path)  # the user knows nothing of the other
        raise
