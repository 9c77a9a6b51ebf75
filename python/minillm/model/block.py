"""A transformer block: attention, then feed-forward, each on a normalized copy of the stream."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from minillm.config import ModelConfig
from minillm.model.attention import Attention
from minillm.model.cache import KVCache
from minillm.model.experts import MixtureOfExperts
from minillm.model.ffn import FeedForward
from minillm.model.latent_attention import LatentAttention
from minillm.model.layers import build_norm
from minillm.model.mask import Mask
from minillm.model.residual import TokenValues, X0Skip
from minillm.model.rope import Rotation


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + ffn(norm(x)).

    The norm stands before each sub-layer and not after the sum (Xiong et al., arXiv:2002.04745):
    the residual stream then runs through untouched, and deep models train without a long warm-up.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        """Builds block number `layer`."""
        super().__init__()
        self.x0_skip = X0Skip() if config.x0_skip else None
        self.attention_norm = build_norm(config)
        attention = LatentAttention if config.attention == "mla" else Attention
        self.attention = attention(config, layer)
        self.token_values = TokenValues(config) if config.has_token_values(layer) else None
        self.ffn_norm = build_norm(config)
        has_experts = config.n_experts > 0 and layer >= config.n_dense_layers
        self.ffn = MixtureOfExperts(config) if has_experts else FeedForward(config, config.d_ff)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        *,
        x0: Float[Tensor, "B T D"] | None = None,
        ids: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Adds both sub-layers' contributions to the residual stream.

        Args:
            x: The stream.
            mask: Which positions each one may see.
            rotation: RoPE's angles.
            cache: See `Attention`.
            x0: What the stream began with; for `x0_skip`.
            ids: The tokens; for `value_embeddings`.
        """
        if self.x0_skip is not None:
            x = self.x0_skip(x, x0)
        normed = self.attention_norm(x)
        values = {}
        if self.token_values is not None:
            values["value_embedding"] = self.token_values(normed, ids)
        x = x + self.dropout(self.attention(normed, mask, rotation, cache, **values))
        ffn_out: Tensor = self.dropout(self.ffn(self.ffn_norm(x)))
        return x + ffn_out
