"""The decoder-only transformer and the parts it is made of."""

from minillm.model.attention import Attention
from minillm.model.block import Block
from minillm.model.cache import KVCache
from minillm.model.ffn import FeedForward, SwiGLU
from minillm.model.layers import Embedding, LayerNorm, Linear, RMSNorm
from minillm.model.reference import IGNORED
from minillm.model.rope import Rotation, rope_angles, rope_rotation, rotate
from minillm.model.size import ModelSize, build_on_meta, flops_per_token, model_size
from minillm.model.transformer import Transformer

__all__ = [
    "IGNORED",
    "Attention",
    "Block",
    "Embedding",
    "FeedForward",
    "KVCache",
    "LayerNorm",
    "Linear",
    "ModelSize",
    "RMSNorm",
    "Rotation",
    "SwiGLU",
    "Transformer",
    "build_on_meta",
    "flops_per_token",
    "model_size",
    "rope_angles",
    "rope_rotation",
    "rotate",
]
