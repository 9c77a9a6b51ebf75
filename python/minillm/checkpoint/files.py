"""Tensors on the disk, and the hashes by which damage shows."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minillm.files import sync


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
    sync(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """What a safetensors file holds.

    Raises:
        ValueError: If it is damaged.
        OSError: If it cannot be read.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"`{path}` is damaged: {error}") from error


def sha256_of(path: Path) -> str:
    """Hash of a file's contents, as the manifest states it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
