"""Batches of rows: training's by number, evaluation's in the order of the file.

A row has `seq_len` inputs, each with the token after it as its target. Which rows make which batch
is a pure function of its number, and the Rust crate's (`order.rs`); a thread there reads them ahead
of whoever trains on them, by plain reading: a file that is cut short meanwhile is an error with its
name, where a memory map would end the process. Ids cross to a GPU in the type of the file, two
bytes each as a rule, and are widened there.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from minillm._core import Order, RowReader, Rows
from minillm.data.token_file import TokenFile

CPU = torch.device("cpu")


class Batch(NamedTuple):
    """Rows of tokens, the token that is to follow each, the document of each, and their number.

    Documents are numbered where rows are packed from several that must not see each other. Targets
    count where there is something to predict.
    """

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    documents: Int[Tensor, "B T"] | None
    n_targets: int


class Batches:
    """Training batches of one token file, or of several in proportion to their weights, by number.

    Attributes:
        order: Which rows come when.
    """

    def __init__(
        self,
        sources: Sequence[TokenFile],
        weights: Sequence[float] = (1.0,),
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        stride: int | None = None,
        at_documents: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Plans the rows of `sources`.

        Args:
            sources: The files.
            weights: Share of each in the rows, in any unit.
            seq_len: Inputs of a row.
            batch_size: Rows of a batch.
            seed: Of the order.
            stride: Tokens from the start of one row to the next; `seq_len` when absent.
            at_documents: Begin rows with documents instead (`document_rows` of the Rust crate).
            rank: Which of `world` processes this is. Each takes every `world`-th row, so that
                together they read what one process would in `world` times the batches.
            world: Processes that read. Where batch n was the last of so many, another number of
                them goes on with the same rows at batch (n + 1) * before / after.

        Raises:
            ValueError: If a file is too short for a single row or does not say where its documents
                begin, or a weight is not above 0.
        """
        self.seq_len, self.batch_size, self.rank, self.world = seq_len, batch_size, rank, world
        rows = []
        for file in sources:
            if len(file) <= seq_len:
                raise ValueError(
                    f"train.seq_len ({seq_len}) is longer than the data: `{file.path}` holds"
                    f" {len(file)} tokens, a window needs {seq_len + 1}"
                )
            if at_documents and file.manifest is None:
                raise ValueError(
                    f"data.rows (documents): `{file.path}` has no manifest to say where they begin"
                    "\nhint: encode the text with `minillm-bpe encode`, or set data.rows to windows"
                )
            if at_documents:
                rows.append(Rows.at_documents(file.path, seq_len))
            else:
                rows.append(Rows.windows(len(file) - seq_len, stride or seq_len))
        self.order = Order(rows, weights, seed)
        self._reader = RowReader([file.pieces for file in sources], self.order, seq_len + 1)

    def batch(self, index: int, device: torch.device = CPU) -> Batch:
        """Micro-step `index` on `device`, counted from 0 over the whole run.

        Raises:
            OSError: If a file cannot be read.
            ValueError: If one has become shorter.
        """
        ids = self._reader.read(index, self.batch_size, self.rank, self.world)
        return as_batch(ids.reshape(self.batch_size, -1), device)


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
        ValueError: If there are not two tokens, or fewer than there were.
        OSError: If the file cannot be read.
    """
    if len(tokens) < 2:
        raise ValueError(f"`{tokens.path}` holds {len(tokens)} tokens, evaluation needs 2")
    windows, rest = divmod(len(tokens) - 1, seq_len)
    wanted = windows if max_batches is None else min(windows, max_batches * batch_size)
    starts = [window * windows // wanted * seq_len for window in range(wanted)]
    for first in range(0, wanted, batch_size):
        yield as_batch(tokens.read(starts[first : first + batch_size], seq_len + 1), CPU)
    if rest and wanted == windows:
        yield as_batch(tokens.read([windows * seq_len], rest + 1), CPU)


def as_batch(rows: NDArray[np.unsignedinteger], device: torch.device) -> Batch:
    """Inputs and, one token later, targets of rows of ids."""
    # Signed on the way: there is little that PyTorch does with unsigned numbers.
    narrow = to_device(rows.view(f"i{rows.itemsize}"), device)  # B T+1
    ids = narrow.long() & ((1 << 8 * rows.itemsize) - 1)  # B T+1
    return Batch(ids[:, :-1], ids[:, 1:], None, ids[:, 1:].numel())


def to_device(array: NDArray[np.integer], device: torch.device) -> Tensor:
    """The same numbers on the device, on CUDA without waiting for the copy."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
