"""FlexAttention, PyTorch's compiler of attention kernels (Dong et al., arXiv:2412.05496).

It takes the mask and the cap as functions of one score and makes a kernel of them, which skips the
blocks of keys that the mask hides: that pays where windows or documents are short beside the row.
It knows no dropout, and on a CPU no backward pass.

In a file of its own because importing it takes as long as the rest of the model together; only
who asks for `attention_backend: flex` does.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

__all__ = ["BlockMask", "create_block_mask", "flex_attend"]


def flex_attend(
    queries: Float[Tensor, "B H T K"],
    keys: Float[Tensor, "B G S K"],
    values: Float[Tensor, "B G S Kv"],
    blocks: BlockMask | None,
    *,
    scale: float,
    softcap: float,
) -> Float[Tensor, "B H T Kv"]:
    """`attend` by FlexAttention; arguments as there.

    Inside of a compiled model it becomes a part of that, else it is compiled by itself.
    """
    attend = flex_attention if torch.compiler.is_compiling() else compiled_flex()
    out: Tensor = attend(
        queries,
        keys,
        values,
        score_mod=partial(_capped, softcap) if softcap else None,
        block_mask=blocks,
        scale=scale,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    return out


@cache
def compiled_flex() -> Callable[..., Tensor]:
    """The kernels by themselves, one for each kind of mask, for sequences of any length."""
    return torch.compile(flex_attention, dynamic=True)


def _capped(
    softcap: float, score: Tensor, _batch: Tensor, _head: Tensor, _query: Tensor, _key: Tensor
) -> Tensor:
    return softcap * (score / softcap).tanh()
