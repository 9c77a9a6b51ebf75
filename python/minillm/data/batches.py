"""Which tokens form which batch: a pure function of (seed, epoch, sample).

An epoch cuts the file into windows of `seq_len` inputs that do not overlap, each with the token
after it as the last target, and visits each window once in an order of its own. The order is a
keyed permutation that is computed, not stored: the batch of step one million costs what the first
one does, and a resumed run needs no more than its step.

Weighed against nanoGPT's windows at random places: those never visit some tokens of the first
epoch (about 1/e of them) and their order lives in a generator's state.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from minillm._core import permuted_index
from minillm.data.token_file import TokenFile


class Batch(NamedTuple):
    """Rows of tokens, the token that is to follow each, and the document of each.

    Documents are numbered where rows are packed from several that must not see each other.
    """

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    documents: Int[Tensor, "B T"] | None = None


class Batches:
    """Training batches of one token file, by number.

    Attributes:
        windows: Windows per epoch.
    """

    def __init__(self, tokens: TokenFile, *, seq_len: int, batch_size: int, seed: int) -> None:
        """Plans the windows of `tokens`.

        Raises:
            ValueError: If the file is too short for a single window.
        """
        self.tokens, self.seq_len, self.batch_size, self.seed = tokens, seq_len, batch_size, seed
        self.windows = (len(tokens) - 1) // seq_len
        if self.windows < 1:
            raise ValueError(
                f"train.seq_len ({seq_len}) is longer than the data: `{tokens.path}` holds"
                f" {len(tokens)} tokens, a window needs {seq_len + 1}"
            )

    def batch(self, index: int) -> Batch:
        """Inputs and targets of micro-step `index`, counted from 0 over the whole run."""
        starts = self.starts(index * self.batch_size, self.batch_size)
        return gather(self.tokens, starts, self.seq_len)

    def starts(self, sample: int, count: int) -> NDArray[np.int64]:
        """Where the windows of `count` samples from number `sample` on begin in the file."""
        pieces = []
        while count:
            epoch, position = divmod(sample, self.windows)
            taken = min(count, self.windows - position)
            order = permuted_index(self.seed, epoch, self.windows, position, taken)
            pieces.append(order.astype(np.int64) * self.seq_len + self._phase(epoch))
            sample, count = sample + taken, count - taken
        return np.concatenate(pieces)

    def _phase(self, epoch: int) -> int:
        """Where an epoch's first window begins.

        What does not fill a window is left out at both ends, a different part in each epoch, so
        that the same text is cut at other places the next time it comes round.
        """
        places = (len(self.tokens) - 1) % self.seq_len + 1
        return int(permuted_index(self.seed, epoch, places, 0, 1)[0])


def evaluation_windows(
    tokens: TokenFile, *, seq_len: int, batch_size: int, max_batches: int | None
) -> Iterator[Batch]:
    """Batches of windows that do not overlap, in the order of the file, the same every time.

    Args:
        tokens: What to evaluate on.
        seq_len: Inputs per window.
        batch_size: Windows per batch.
        max_batches: Take this many batches of windows, spread evenly over the file; with `None`
            take all, and the rest that does not fill a window too, so that every token but the
            first is a target exactly once.

    Raises:
        ValueError: If there are not two tokens.
    """
    if len(tokens) < 2:
        raise ValueError(f"`{tokens.path}` holds {len(tokens)} tokens, evaluation needs 2")
    windows, rest = divmod(len(tokens) - 1, seq_len)
    wanted = windows if max_batches is None else min(windows, max_batches * batch_size)
    chosen = np.arange(wanted, dtype=np.int64) * windows // max(wanted, 1)
    for first in range(0, wanted, batch_size):
        yield gather(tokens, chosen[first : first + batch_size] * seq_len, seq_len)
    if rest and wanted == windows:
        yield gather(tokens, np.array([windows * seq_len]), rest)


def gather(tokens: TokenFile, starts: NDArray[np.int64], seq_len: int) -> Batch:
    """Inputs from each start on, and as targets the same one token later."""
    window = np.arange(seq_len + 1)
    ids = torch.from_numpy(tokens.ids[starts[:, None] + window].astype(np.int64))  # [B, T+1]
    return Batch(ids[:, :-1], ids[:, 1:])
