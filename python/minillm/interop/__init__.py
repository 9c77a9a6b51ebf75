"""Models that leave and enter the house: the only place that knows other people's names."""

from pathlib import Path

from minillm.interop.gguf_file import GGUF_TYPES, write_gguf
from minillm.interop.hugging_face import read_hugging_face, write_hugging_face
from minillm.interop.parts import Parts
from minillm.interop.run_folder import read_run, write_run

__all__ = [
    "GGUF_TYPES",
    "Parts",
    "is_hugging_face",
    "read_hugging_face",
    "read_model",
    "read_run",
    "write_gguf",
    "write_hugging_face",
    "write_run",
]


def is_hugging_face(path: Path) -> bool:
    """Whether `path` is a Hugging Face folder and not a run: it has their configuration."""
    return (path / "config.json").is_file()


def read_model(path: Path) -> Parts:
    """Reads a run, one of its checkpoints, or a Hugging Face folder.

    Raises:
        ValueError: If it is none of them, or cannot be used; see both readers.
    """
    return read_hugging_face(path) if is_hugging_face(path) else read_run(path)
