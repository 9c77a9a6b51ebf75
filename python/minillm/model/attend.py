"""Scaled dot-product attention behind one function, with three ways to compute it.

    softmax(cap(scale Q K^T) + mask) V        (Vaswani et al., arXiv:1706.03762, equation 1)

where cap(s) = c tanh(s / c) if the scores are capped, so that none can run away (Gemma 2,
arXiv:2408.00118, section 2), and the mask is -infinity where a query may not look.

- `reference`: the formula, written out; it makes all T x S weights.
- `sdpa`: PyTorch's fused kernels, which do not. They know no cap.
- `flex`: kernels that PyTorch compiles for this very mask and cap, see `flex.py`.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.mask import Mask


def attend(
    queries: Float[Tensor, "B H T K"],
    keys: Float[Tensor, "B G S K"],
    values: Float[Tensor, "B G S Kv"],
    mask: Mask,
    config: ModelConfig,
    *,
    scale: float,
    training: bool,
) -> Float[Tensor, "B H T Kv"]:
    """Mixes the values that each query finds.

    Each of the G key heads serves H / G neighbouring query heads.

    Args:
        queries: What each position asks.
        keys: What each position offers to be found by.
        values: What each position gives when found.
        mask: Which keys each query may see, built for the same backend.
        config: What computes it (`attention_backend`), and its cap and dropout.
        scale: Factor of the scores, 1 / sqrt(K) as a rule.
        training: Whether to drop attention weights.
    """
    backend, softcap = config.attention_backend, config.attention_softcap
    dropout = config.attention_dropout if training else 0.0
    if backend == "sdpa" and queries.shape[2] == 1:
        # The heads of a group see the same keys: as rows of one product they need no copy of them.
        rows = queries.reshape(*keys.shape[:2], -1, queries.shape[-1])  # B G H/G K
        mixed = functional.scaled_dot_product_attention(
            rows, keys, values, attn_mask=mask.dense, dropout_p=dropout, scale=scale
        )
        return mixed.flatten(1, 2)[:, :, None]  # B H 1 Kv
    if backend == "sdpa":
        return functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask.dense,
            dropout_p=dropout,
            is_causal=mask.is_causal,
            scale=scale,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
    if backend == "flex":
        from minillm.model.flex import flex_attend  # noqa: PLC0415  slow to import

        return flex_attend(queries, keys, values, mask.blocks, scale=scale, softcap=softcap)
    heads_per_group = queries.shape[1] // keys.shape[1]
    keys = keys.repeat_interleave(heads_per_group, dim=1)  # B H S K
    values = values.repeat_interleave(heads_per_group, dim=1)  # B H S Kv
    scores = queries @ keys.mT * scale  # B H T S
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask.dense is not None:
        scores = scores.masked_fill(~mask.dense, -torch.inf)
    weights = functional.dropout(scores.softmax(-1), dropout, training=dropout > 0)
    return weights @ values  # B H T Kv
