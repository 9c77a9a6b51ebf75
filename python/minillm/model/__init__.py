"""The decoder-only transformer and the parts it is made of."""

from minillm.model.attention import Attention
from minillm.model.block import Block
from minillm.model.cache import KVCache
from minillm.model.ffn import FeedForward, SwiGLU
from minillm.model.functional import IGNORED
from minillm.model.latent_attention import LatentAttention
from minillm.model.layers import Embedding, LayerNorm, Linear, RMSNorm
from minillm.model.mask import Mask, build_mask
from minillm.model.rope import (
    Rotation,
    permute_pairs,
    rope_frequencies,
    rope_rotation,
    rotate,
)
from minillm.model.rope_scaling import scaled_frequencies
from minillm.model.transformer import Transformer

__all__ = [
    "IGNORED",
    "Attention",
    "Block",
    "Embedding",
    "FeedForward",
    "KVCache",
    "LatentAttention",
    "LayerNorm",
    "Linear",
    "Mask",
    "RMSNorm",
    "Rotation",
    "SwiGLU",
    "Transformer",
    "build_mask",
    "permute_pairs",
    "rope_frequencies",
    "rope_rotation",
    "rotate",
    "scaled_frequencies",
]
