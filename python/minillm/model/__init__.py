"""The decoder-only transformer and the parts it is made of."""

from minillm.config.sections import IGNORED
from minillm.model.attention import Attention
from minillm.model.block import Block
from minillm.model.cache import KVCache
from minillm.model.experts import MixtureOfExperts, load_statistics, move_biases, reset_load
from minillm.model.ffn import FeedForward
from minillm.model.latent_attention import LatentAttention
from minillm.model.layers import Embedding, LayerNorm, Linear, RMSNorm
from minillm.model.mask import Mask, build_mask
from minillm.model.residual import TokenValues, X0Skip
from minillm.model.rope import Rotation, permute_pairs, rope_frequencies, rope_rotation, rotate
from minillm.model.rope_scaling import scaled_frequencies
from minillm.model.size import ModelSize, build_on_meta, flops_per_token, model_size
from minillm.model.transformer import Transformer, check_finite

__all__ = [
    "IGNORED", "Attention", "Block", "Embedding", "FeedForward", "KVCache", "LatentAttention",
    "LayerNorm", "Linear", "Mask", "MixtureOfExperts", "ModelSize", "RMSNorm", "Rotation",
    "TokenValues", "Transformer", "X0Skip", "build_mask", "build_on_meta", "check_finite",
    "flops_per_token", "load_statistics", "model_size", "move_biases", "permute_pairs",
    "reset_load", "rope_frequencies", "rope_rotation", "rotate", "scaled_frequencies",
]  # fmt: skip
