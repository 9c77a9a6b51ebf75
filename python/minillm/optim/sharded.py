"""Tensors that are spread over processes: PyTorch's DTensor, as `fully_shard` makes them.

They are told by their methods, as importing their class takes seconds of each start.
"""

from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds a part of the tensor alone."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor; all processes must ask for it."""
    sharded: Any = tensor
    return sharded.full_tensor() if is_sharded(tensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """This process's part of a whole tensor that all have, spread as `other` is."""
    if not is_sharded(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415  imported by now

    sharded: Any = other
    return distribute_tensor(tensor, sharded.device_mesh, sharded.placements, src_data_rank=None)
