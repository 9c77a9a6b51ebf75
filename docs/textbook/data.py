"""Batches the textbook way: windows at random places, drawn with replacement.

`minillm.data.Batches` visits every token once an epoch and can be resumed at any step; this is what
it is weighed against, as a course asks for it.
"""

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor


def random_batch(
    ids: NDArray[np.integer],
    *,
    batch_size: int,
    seq_len: int,
    device: torch.device | str,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Inputs from `batch_size` random places of `ids`, and as targets the same one token later.

    Every place that leaves room for the last target is equally likely.

    Args:
        ids: One row of token ids, in memory or memory-mapped.
        batch_size: Windows to draw.
        seq_len: Inputs per window.
        device: Where the batch goes; PyTorch raises what it raises if there is no such device.
        generator: What to draw from; PyTorch's global one when absent.

    Raises:
        ValueError: If `ids` is too short for one window.
    """
    places = len(ids) - seq_len
    if places < 1:
        raise ValueError(f"ids holds {len(ids)} tokens, a window of {seq_len} needs {seq_len + 1}")
    starts = torch.randint(places, (batch_size, 1), generator=generator).numpy()
    window = torch.from_numpy(ids[starts + np.arange(seq_len + 1)].astype(np.int64))  # B T+1
    return window[:, :-1].to(device), window[:, 1:].to(device)
