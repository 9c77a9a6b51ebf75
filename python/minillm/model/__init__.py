"""The decoder-only transformer and the parts it is made of."""

from minillm.model.attention import Attention
from minillm.model.block import Block
from minillm.model.cache import KVCache
from minillm.model.experts import (
    MixtureOfExperts,
    Router,
    balance_loss,
    grouped_linear,
    load_statistics,
    move_biases,
    reset_load,
    router_z_loss,
)
from minillm.model.ffn import FeedForward, SwiGLU
from minillm.model.functional import IGNORED
from minillm.model.layers import Embedding, LayerNorm, Linear, RMSNorm
from minillm.model.residual import TokenValues, X0Skip
from minillm.model.rope import Rotation, rope_angles, rope_rotation, rotate
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
    "MixtureOfExperts",
    "RMSNorm",
    "Rotation",
    "Router",
    "SwiGLU",
    "TokenValues",
    "Transformer",
    "X0Skip",
    "balance_loss",
    "grouped_linear",
    "load_statistics",
    "move_biases",
    "reset_load",
    "rope_angles",
    "rope_rotation",
    "rotate",
    "router_z_loss",
]
