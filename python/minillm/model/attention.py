"""Causal self-attention with grouped key and value heads.

With fewer key-value heads than query heads, G < H, each one serves H / G neighbouring query heads
(Ainslie et al., "GQA", arXiv:2305.13245): the cache shrinks by that factor. G = 1 is multi-query
attention (Shazeer, arXiv:1911.02150), G = H the multi-head attention of the first transformer.

QK-norm normalizes each head's queries and keys before they meet (Henry et al., arXiv:2010.04245,
in Qwen3's form: RMS norm with a scale learned per channel and shared by the heads, before RoPE), so
that no logit can run away at high learning rates.
"""

from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from minillm.config import ModelConfig
from minillm.model.attend import attend
from minillm.model.cache import KVCache
from minillm.model.init import output_std
from minillm.model.layers import Linear, RMSNorm
from minillm.model.mask import Mask
from minillm.model.rope import Rotation, rotate


class Attention(nn.Module):
    """Multi-head causal self-attention of one block: concat(heads) W_o.

    Head h mixes the values of group g = h G / H: softmax(q_h k_g^T / sqrt(K) + mask) v_g, where
    q = x W_q, k = x W_k, v = x W_v, normalized and turned as the configuration says.
    """

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
        self.config = config
        self.layer = layer

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        value_embedding: Float[Tensor, "B T G K"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Lets each position look at what the mask shows it.

        Args:
            x: Normalized residual stream.
            mask: Which positions each one may see.
            rotation: RoPE's angles; absent where positions come by other means.
            cache: Earlier positions to look at too; the new ones are added to it.
            value_embedding: Added to the values, see `TokenValues`.
        """
        config = self.config
        queries = self.q_proj(x).unflatten(-1, (-1, config.d_head))  # B T H K
        keys = self.k_proj(x).unflatten(-1, (-1, config.d_head))  # B T G K
        values = self.v_proj(x).unflatten(-1, (-1, config.d_head))  # B T G K
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
        scale = config.d_head**-0.5
        mixed = attend(
            queries, keys, values, mask, config, scale=scale, training=self.training
        )  # B H T K
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))  # B T D
        return out
