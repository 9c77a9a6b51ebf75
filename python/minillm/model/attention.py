"""Causal self-attention with grouped key and value heads.

With fewer key-value heads than query heads, G < H, each one serves H / G neighbouring query heads
(Ainslie et al., "GQA", arXiv:2305.13245): the cache shrinks by that factor. QK-norm normalizes each
head's queries and keys before they meet (Henry et al., arXiv:2010.04245, in Qwen3's form: RMS norm
with a scale learned per channel and shared by the heads, before RoPE), so that no logit can run
away at high learning rates.
"""

from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.cache import KVCache
from minillm.model.functional import causal_mask, scaled_dot_product_attention
from minillm.model.init import output_std
from minillm.model.layers import Linear, RMSNorm
from minillm.model.rope import Rotation, rotate


class Attention(nn.Module):
    """Multi-head causal self-attention of one block."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        """Builds the attention of block number `layer`, its place in the cache."""
        super().__init__()
        d_model, bias = config.d_model, config.attention_bias
        d_queries = config.n_heads * config.d_head
        d_keys = config.n_kv_heads * config.d_head
        self.q_proj = Linear(d_model, d_queries, bias=bias, std=config.init_std)
        self.k_proj = Linear(d_model, d_keys, bias=bias, std=config.init_std)
        self.v_proj = Linear(d_model, d_keys, bias=bias, std=config.init_std)
        self.o_proj = Linear(d_queries, d_model, bias=bias, std=output_std(config))
        head_norm = partial(RMSNorm, config.d_head, eps=config.norm_eps, scale=config.norm_scale)
        self.q_norm = head_norm() if config.qk_norm else None
        self.k_norm = head_norm() if config.qk_norm else None
        self.layer = layer
        self.d_head = config.d_head
        self.dropout = config.attention_dropout
        self.attend = _attend_by_sdpa if config.attention == "sdpa" else _attend_by_formula

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        value_embedding: Float[Tensor, "B T G K"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Lets each position look at itself and what came before it.

        Args:
            x: Normalized residual stream.
            rotation: RoPE's angles; absent where positions come by other means.
            cache: Earlier positions to look at too; the new ones are added to it.
            value_embedding: Added to the values, see `TokenValues`.
        """
        queries = self.q_proj(x).unflatten(-1, (-1, self.d_head))  # B T H K
        keys = self.k_proj(x).unflatten(-1, (-1, self.d_head))  # B T G K
        values = self.v_proj(x).unflatten(-1, (-1, self.d_head))  # B T G K
        if value_embedding is not None:
            values = values + value_embedding
        if self.q_norm is not None and self.k_norm is not None:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        queries = queries.transpose(1, 2)  # B H T K
        keys, values = keys.transpose(1, 2), values.transpose(1, 2)  # B G T K
        if cache is not None:
            keys, values = cache.write(self.layer, keys, values)  # B G S K
        mixed = self.attend(queries, keys, values, self.dropout if self.training else 0.0)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))  # B T D
        return out


def _attend_by_sdpa(
    queries: Float[Tensor, "B H T K"],
    keys: Float[Tensor, "B G S K"],
    values: Float[Tensor, "B G S K"],
    dropout: float,
) -> Float[Tensor, "B H T K"]:
    n_queries, n_keys = queries.shape[2], keys.shape[2]
    # SDPA's own causal mask is for square scores: it would align the first query with the first
    # key. One query alone is the newest position and sees every key.
    is_square = n_queries == n_keys
    needs_mask = not is_square and n_queries > 1
    return functional.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=causal_mask(n_queries, n_keys, queries.device) if needs_mask else None,
        dropout_p=dropout,
        is_causal=is_square and n_queries > 1,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )


def _attend_by_formula(
    queries: Float[Tensor, "B H T K"],
    keys: Float[Tensor, "B G S K"],
    values: Float[Tensor, "B G S K"],
    dropout: float,
) -> Float[Tensor, "B H T K"]:
    heads_per_group = queries.shape[1] // keys.shape[1]
    keys = keys.repeat_interleave(heads_per_group, dim=1)  # B H S K
    values = values.repeat_interleave(heads_per_group, dim=1)  # B H S K
    mask = causal_mask(queries.shape[2], keys.shape[2], queries.device)  # T S
    return scaled_dot_product_attention(queries, keys, values, mask, dropout=dropout)
