"""Token files of other programs, told by their first bytes and mapped into memory.

What stands before the ids of each, and how it is read and written, is in the extension:
`rust/minillm-bpe/src/shard/layout.rs`.
"""

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from minillm import _core

LayoutName: TypeAlias = Literal["nanogpt", "llmc", "npy"]
IdType: TypeAlias = np.dtype[np.unsignedinteger]


class Layout(NamedTuple):
    """Which program's file it is, and where its ids lie."""

    name: LayoutName
    dtype: IdType
    offset: int
    tokens: int

    @property
    def described(self) -> str:
        """For a message: what the file is taken for."""
        if self.name == "nanogpt":
            return "bare 16-bit ids, as nanoGPT writes them"
        program = {"llmc": "llm.c", "npy": "numpy"}[self.name]
        return f"{self.dtype.name} ids behind the header of {program}"


def read_layout(path: Path) -> Layout:
    """Tells the layout of a file without a manifest by its first bytes.

    Raises:
        ValueError: If the file is cut short or longer than its header says, is of a type that
            holds no ids, or is empty.
    """
    name, dtype, offset, tokens = _core.read_layout(path)
    return Layout(name, np.dtype(dtype).newbyteorder("<"), offset, tokens)


def map_ids(path: Path, layout: Layout) -> NDArray[np.unsignedinteger]:
    """The ids as a read-only memory map."""
    if layout.tokens == 0:
        return np.empty(0, layout.dtype)
    return np.memmap(path, layout.dtype, "r", layout.offset, (layout.tokens,))
