"""The processes that train one run together.

Started by `torchrun`, they share its rendezvous; started alone, a process is a world of one and
none of this communicates. Each holds the same numbers wherever it decides something, so that all
decide alike: what one process knows, a sum or an `any` tells the others.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from minillm.checkpoint import load_model_tensors, model_tensors
from minillm.model import Transformer
from minillm.optim.sharded import is_sharded


@dataclass(frozen=True)
class World:
    """Which of how many processes this is.

    Attributes:
        rank: Number among all.
        size: How many there are.
        local_rank: Number among those of this machine.
        local_size: How many this machine has.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Adds up the tensor of each process, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag))))

    def gather(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What each process holds under these names; those of rank n > 0 end in `.n`."""
        if self.size == 1:
            return state
        gathered: list[dict[str, Tensor]] = [{} for _ in range(self.size)]
        distributed.all_gather_object(gathered, state)
        return {
            name if rank == 0 else f"{name}.{rank}": tensor
            for rank, of_rank in enumerate(gathered)
            for name, tensor in of_rank.items()
        }

    def barrier(self) -> None:
        """Waits for all."""
        self.any(False)


ALONE = World()


@contextmanager
def join_world() -> Iterator[World]:
    """Meets the other processes, if `torchrun` has started this one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(local_rank)
    begins = not distributed.is_initialized()
    if begins:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        yield World(distributed.get_rank(), size, local_rank, local_size)
    finally:
        if begins:
            distributed.destroy_process_group()


def shard(model: Transformer) -> None:
    """Spreads weights, gradients and optimizer over all processes (FSDP2).

    Each block is whole only while it computes.
    """
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415  two seconds

    for block in model.layers.children():
        fully_shard(block)
    fully_shard(model)


def whole_model(model: Transformer) -> Transformer:
    """The model, or what is spread over processes put together, for which all must ask."""
    if not any(is_sharded(parameter) for parameter in model.parameters()):
        return model
    tensors = model_tensors(model)
    together = Transformer(model.config).to(next(iter(tensors.values())).device)
    load_model_tensors(together, tensors)
    return together


def replicate(forward: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Gives every process the whole model, and after each backward pass the mean gradient."""
    ids = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():  # a newer name for that option, which older versions lack
        warnings.simplefilter("ignore")
        return DistributedDataParallel(forward, device_ids=ids, broadcast_buffers=False)


def synchronize_gradients(forward: object, model: nn.Module, *, on: bool) -> None:
    """Whether the next backward pass exchanges gradients: only the last micro-step of a step."""
    if isinstance(forward, DistributedDataParallel):
        forward.require_backward_grad_sync = on  # what its `no_sync` sets
    elif hasattr(model, "set_requires_gradient_sync"):
        cast("Any", model).set_requires_gradient_sync(on)
