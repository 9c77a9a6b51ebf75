"""Token files of other programs: what stands before the ids, read and written.

| layout | before the ids | ids |
| --- | --- | --- |
| `nanogpt` | nothing | 16 bits |
| `llmc` | 256 int32: magic number, version, number of ids, zeros | 16 or 32 bits, by the magic |
| `npy` | numpy's own header | 16 or 32 bits |

All numbers are little-endian. Sources: nanoGPT's `data/*/prepare.py`, llm.c's
`dev/data/data_common.py`, `numpy.lib.format`.
"""

import ast
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from minillm import _core

LayoutName: TypeAlias = Literal["nanogpt", "llmc", "npy"]
IdType: TypeAlias = np.dtype[np.unsignedinteger]

LLMC_HEADER_BYTES = 256 * 4
LLMC_MAX_TOKENS = (1 << 31) - 1
LLMC_VERSIONS: dict[int, tuple[int, IdType]] = {
    20240520: (1, np.dtype("<u2")),
    20240801: (7, np.dtype("<u4")),
}
"""Version and type of the ids for each magic number: GPT-2's files, and Llama 3's."""

NPY_MAGIC = b"\x93NUMPY"
NPY_MAX_HEADER = 10_000
"""As in numpy, which parses no longer ones either."""


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


class IdReader:
    """A token file that is open for reading.

    Attributes:
        layout: `minillm` if it has a manifest, else the name of its layout.
        dtype: `uint16` or `uint32`.
        shard: Ours to be verified; `None` for a file behind another program's header.
    """

    def __init__(self, file: Path) -> None:
        """Opens `file`.

        Raises:
            ValueError: If it does not fit its manifest or header.
            OSError: If it cannot be read.
        """
        self.layout = "minillm"
        if not _has_manifest(file):
            layout = read_layout(file)
            self.layout, self.dtype = layout.name, layout.dtype.name
            if layout.name != "nanogpt":
                self.shard = None
                self._ids = map_ids(file, layout)
                return
        self.shard = _core.Shard(file)
        self.dtype = self.shard.dtype

    def __len__(self) -> int:
        return len(self._ids if self.shard is None else self.shard)

    def read(self, start: int, count: int) -> NDArray[np.unsignedinteger]:
        """Up to `count` ids from position `start` on."""
        if self.shard is None:
            return self._ids[start : start + count]
        return self.shard.read(start, count)


def read_layout(path: Path) -> Layout:
    """Tells the layout of a file without a manifest by its first bytes.

    A bare file that begins like a header is taken for one with a header: its first two ids would
    have to be 55432 and 308, and the next two a version.

    Raises:
        ValueError: If the file is cut short or longer than its header says, is of a type that
            holds no ids, or is empty.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(NPY_MAGIC):
            layout = _npy_layout(path, file)
        elif int.from_bytes(start[:4], "little") in LLMC_VERSIONS:
            layout = _llmc_layout(path, file)
        else:
            layout = Layout("nanogpt", np.dtype("<u2"), 0, size // 2)
    body, id_bytes = size - layout.offset, layout.dtype.itemsize
    if size == 0:
        raise ValueError(f"`{path}` is empty")
    if body % id_bytes:
        raise ValueError(
            f"`{path}`: {body} bytes is not a multiple of {id_bytes}, the size of a"
            f" {layout.dtype.name} id; the file is cut short or of another type"
        )
    if body != layout.tokens * id_bytes:
        held = body // id_bytes
        raise ValueError(f"`{path}`: its header says {layout.tokens} tokens, the file holds {held}")
    return layout


def map_ids(path: Path, layout: Layout) -> NDArray[np.unsignedinteger]:
    """The ids as a read-only memory map."""
    if layout.tokens == 0:
        return np.empty(0, layout.dtype)
    return np.memmap(path, layout.dtype, "r", layout.offset, (layout.tokens,))


def write_header(file: BinaryIO, name: LayoutName, dtype: IdType, tokens: int) -> None:
    """Writes what stands before `tokens` ids of `dtype`.

    Raises:
        ValueError: If the layout cannot say so: llm.c counts in 31 bits.
    """
    if name == "npy":
        facts = {"descr": dtype.str, "fortran_order": False, "shape": (tokens,)}
        np.lib.format.write_array_header_1_0(file, facts)
    elif name == "llmc":
        if tokens > LLMC_MAX_TOKENS:
            limit = f"the {LLMC_MAX_TOKENS} that llm.c's header can say"
            raise ValueError(f"{tokens} tokens are more than {limit}")
        header = np.zeros(LLMC_HEADER_BYTES // 4, "<i4")
        magics = {ids: (magic, version) for magic, (version, ids) in LLMC_VERSIONS.items()}
        header[:3] = (*magics[dtype], tokens)
        file.write(header.tobytes())


def _llmc_layout(path: Path, file: BinaryIO) -> Layout:
    file.seek(0)
    header = np.frombuffer(file.read(LLMC_HEADER_BYTES), "<i4")
    if len(header) * 4 < LLMC_HEADER_BYTES:
        raise ValueError(f"`{path}`: the file is cut short inside of its header, which is llm.c's")
    magic, found, tokens = header[:3].tolist()
    version, dtype = LLMC_VERSIONS[magic]
    if found != version:
        problem = f"llm.c's header has version {found}, expected {version} behind {magic}"
        raise ValueError(f"`{path}`: {problem}")
    return Layout("llmc", dtype, LLMC_HEADER_BYTES, tokens)


def _npy_layout(path: Path, file: BinaryIO) -> Layout:
    # Not numpy's own reader: on damaged headers it raises whatever Python's tokenizer raises.
    file.seek(len(NPY_MAGIC))
    version = file.read(2)[:1]
    length = int.from_bytes(file.read(2 if version == b"\x01" else 4), "little")
    try:
        header = ast.literal_eval(file.read(min(length, NPY_MAX_HEADER)).decode())
        kind, shape = header["descr"], header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError(f"`{path}`: the header, which is numpy's, is damaged") from error
    is_one_axis = isinstance(shape, tuple) and len(shape) == 1 and type(shape[0]) is int
    if kind not in ("<u2", "<u4") or not is_one_axis:
        expected = "expected <u2 or <u4, and one axis"
        raise ValueError(f"`{path}` holds {kind} of shape {shape}, {expected}")
    return Layout("npy", np.dtype(kind), file.tell(), shape[0])


def _has_manifest(file: Path) -> bool:
    """Whether a manifest says what the file is; that of `train.bin` is none of `train.npy`."""
    return file.suffix != ".npy" and file.with_suffix(".json").exists()
