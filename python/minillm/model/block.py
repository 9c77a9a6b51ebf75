"""A transformer block: attention, then feed-forward, each on a normalized copy of the stream."""

from jaxtyping import Float
from torch import Tensor, nn

from minillm.config import ModelConfig
from minillm.model.attention import Attention
from minillm.model.cache import KVCache
from minillm.model.ffn import build_feed_forward
from minillm.model.latent_attention import LatentAttention
from minillm.model.layers import LayerNorm, RMSNorm
from minillm.model.mask import Mask
from minillm.model.rope import Rotation


def build_norm(config: ModelConfig) -> nn.Module:
    """The norm over d_model that a configuration asks for."""
    norm = RMSNorm if config.norm == "rmsnorm" else LayerNorm
    return norm(config.d_model, eps=config.norm_eps)


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + ffn(norm(x)).

    The norm stands before each sub-layer and not after the sum (Xiong et al., arXiv:2002.04745):
    the residual stream then runs through untouched, and deep models train without a long warm-up.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        """Builds block number `layer`."""
        super().__init__()
        self.attention_norm = build_norm(config)
        attention = LatentAttention if config.attention == "mla" else Attention
        self.attention = attention(config, layer)
        self.ffn_norm = build_norm(config)
        self.ffn = build_feed_forward(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Adds both sub-layers' contributions to the residual stream."""
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, rotation, cache))
        ffn_out: Tensor = self.dropout(self.ffn(self.ffn_norm(x)))
        return x + ffn_out
