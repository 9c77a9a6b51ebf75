"""The ids of several files as one sequence, without copying them together.

Positions become (file, position in it) by a search among the files' starts, once for a whole batch;
ids are gathered file by file. A batch mostly touches few files, and with one file it is that file.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class JoinedIds:
    """Arrays of ids, one behind the other, as far as training needs an array."""

    def __init__(self, files: Sequence[NDArray[np.unsignedinteger]]) -> None:
        """Joins `files`, of which there is one at least, and all are of one type."""
        self.files = files
        self.dtype = files[0].dtype
        self.ends = np.cumsum([len(file) for file in files], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, key: slice | int | NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
        """What numpy gives for a whole number, a slice without a step, or an array of positions."""
        if isinstance(key, slice):
            return self._slice(*key.indices(len(self)))
        positions = np.asarray(key)
        if positions.size and not -len(self) <= positions.min() <= positions.max() < len(self):
            raise IndexError(f"position out of range of {len(self)} ids")
        positions = np.where(positions < 0, positions + len(self), positions)
        places = np.searchsorted(self.ends, positions, side="right")
        ids = np.empty(positions.shape, self.dtype)
        for place in np.unique(places):
            chosen = places == place
            start = self.ends[place] - len(self.files[place])
            ids[chosen] = self.files[place][positions[chosen] - start]
        return np.asarray(ids)

    def _slice(self, start: int, stop: int, step: int) -> NDArray[np.unsignedinteger]:
        if step != 1:
            raise IndexError(f"step is {step}, expected 1")
        pieces = [np.empty(0, self.dtype)]
        for end, file in zip(self.ends, self.files, strict=True):
            first = int(end) - len(file)
            pieces.append(file[max(start - first, 0) : max(stop - first, 0)])
        return np.concatenate(pieces)
