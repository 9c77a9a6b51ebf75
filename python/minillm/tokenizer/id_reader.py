"""The ids of any token file, piece by piece: one of ours, several joined, or another program's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from minillm import _core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        from minillm.tokenizer.layouts import map_ids, read_layout  # noqa: PLC0415  needs numpy

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


def _has_manifest(file: Path) -> bool:
    """Whether a manifest says what the file is; that of `train.bin` is none of `train.npy`."""
    return file.suffix != ".npy" and file.with_suffix(".json").exists()
