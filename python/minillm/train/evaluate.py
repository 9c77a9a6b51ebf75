"""Validation loss, and bits per byte.

Loss per token depends on the tokenizer: larger tokens are fewer and each is harder to guess. Bits
per byte of the text divides that out, and can be held against another tokenizer's model or against
`xz` on the same file.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from minillm.data import Batch
from minillm.model import IGNORED, check_finite
from minillm.train.world import ALONE, World


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text.

    Attributes:
        loss: Mean cross-entropy per predicted token, in nats.
        bits_per_byte: The same in bits per byte of those tokens; `None` if their lengths are
            unknown, which is the case without a tokenizer.
        tokens: Tokens predicted.
    """

    loss: float
    bits_per_byte: float | None
    tokens: int

    def __str__(self) -> str:
        in_bits = "" if self.bits_per_byte is None else f"  {self.bits_per_byte:.4f} bits per byte"
        return f"val loss {self.loss:.4f}{in_bits}  ({self.tokens:,} tokens)"


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    token_bytes: NDArray[np.integer] | None,
    autocast: AbstractContextManager[object],
    is_stopped: Callable[[], bool],
    world: World = ALONE,
) -> Evaluation | None:
    """Evaluates `model` on batches of tokens.

    Args:
        model: Called as `model(ids, targets=targets, documents=documents)`, giving the mean
            cross-entropy of the targets.
        batches: What to predict. The first tokens of a row are predicted from little context, so
            longer rows give a lower loss; their number changes nothing beyond rounding.
        token_bytes: Bytes of each id's text; special tokens have 0.
        autocast: Context of the forward pass; must be reusable.
        is_stopped: Polled between batches.
        world: Processes that share the batches.

    Returns:
        The evaluation, or `None` if it was stopped.

    Raises:
        ValueError: If the loss is not finite, with the first weight that is not.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    nats, predicted, text_bytes = 0.0, 0, 0
    remaining = iter(batches)
    try:
        while shared := list(islice(remaining, world.size)):
            if is_stopped():
                return None
            # Of the last ones there may be too few: all compute, as weights may be spread.
            batch = shared[min(world.rank, len(shared) - 1)]
            ids, targets, documents = (None if x is None else x.to(device) for x in batch[:3])
            with autocast:
                loss = model(ids, targets=targets, documents=documents)
            if world.rank >= len(shared):
                continue
            known = batch.targets[batch.targets != IGNORED]
            nats += check_finite(loss.item(), "model's validation loss", model) * len(known)
            predicted += len(known)
            if token_bytes is not None:
                text_bytes += int(token_bytes[known.numpy()].sum())
    finally:
        model.train(was_training)
    sums = world.sum(torch.tensor([nats, predicted, text_bytes], dtype=torch.float64)).tolist()
    nats, predicted, text_bytes = sums[0], int(sums[1]), int(sums[2])
    bits_per_byte = nats / math.log(2) / text_bytes if text_bytes else None
    return Evaluation(nats / predicted, bits_per_byte, predicted)
