"""Writes that are either wholly there or not at all, and are still there after a power cut.

The recipe is the old one: write a new file beside the target, fsync it, rename it over the target,
fsync the folder. Without the first fsync the name can arrive before the bytes; without the second
the rename itself can be lost.
"""

import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` at `path` atomically; on any error the old file is still there, untouched."""
    aside = path.with_name(path.name + ".tmp")
    try:
        write_file(aside, content)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Writes `path` and waits until it is on the disk."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # a failed write() does not know the name of its file
        error.filename = str(path)
        raise


def write_tensors(
    path: Path, tensors: dict[str, Tensor], *, metadata: dict[str, str] | None = None
) -> None:
    """Writes a safetensors file and waits until it is on the disk.

    Raises:
        OSError: If the disk is full, say; safetensors' own error has neither type nor path.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(f"`{path}`: {error}") from error
    path.chmod(mode)  # safetensors makes it private, whatever the umask says
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable, where the system lets one open a folder."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hash of a file's contents, as the manifest states it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
