"""Files: errors that name them, and writes that are either wholly there or not at all.

The recipe is the old one: write anew beside the target, fsync, rename over the target, fsync the
folder. Without the first fsync the name can arrive before the bytes; without the second the rename
itself can be lost in a power cut.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FilePath = str | os.PathLike[str]

MAX_JSON_BYTES = 1 << 26
"""More than any configuration or index has; a parsed one takes many times its size."""


@contextmanager
def named_in_errors(path: FilePath) -> Iterator[None]:
    """Puts `path` before a `ValueError` about its content, and into an `OSError` without a name."""
    try:
        yield
    except OSError as error:  # a failed write() does not know the name of its file
        error.filename = error.filename or os.fspath(path)
        raise
    except ValueError as error:
        raise ValueError(f"`{os.fspath(path)}`: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        ValueError: Naming the file, if it is too large, or holds something else.
        OSError: If it cannot be read.
    """
    if (n_bytes := path.stat().st_size) > MAX_JSON_BYTES:
        raise ValueError(f"`{path}` has {n_bytes} bytes: not read")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{path}` is damaged: not JSON") from error
    if not isinstance(content, dict):
        raise ValueError(f"`{path}` is damaged: not a JSON object")
    return content


@contextmanager
def written_aside(path: FilePath, aside: Path | None = None) -> Iterator[Path]:
    """A place that gets the name `path` when what is there is complete, and vanishes if not.

    The caller makes it: a file, or a folder of files that are on the disk already.

    Args:
        path: The name to come.
        aside: The place, in the same folder; a hidden one when absent.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = aside or target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield aside
        sync(aside)
        aside.replace(target)
    except BaseException as error:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            error.filename = os.fspath(path)  # the user knows nothing of the other
        raise
    sync(target.parent)


def remove_asides(folder: Path) -> None:
    """Deletes the files that a process was writing aside in `folder` when it was killed."""
    for path in folder.glob(".*." + "[0-9a-f]" * 8):
        path.unlink()


def replace_file(path: FilePath, content: bytes) -> None:
    """Puts `content` at `path` atomically; on any error the old file is still there, untouched."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_file(path: Path, content: bytes) -> None:
    """Writes `path` and waits until it is on the disk."""
    with named_in_errors(path):
        path.write_bytes(content)
        sync(path)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # which that system does not let one open
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        with named_in_errors(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
