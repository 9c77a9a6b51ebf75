"""How large a model is and what one token of training costs, before any of it takes memory.

Parameters are counted on the modules themselves, built on PyTorch's meta device, where a tensor has
a shape and no data: what is counted is what would be trained, whatever the configuration.
"""

from functools import cache
from typing import NamedTuple

import torch

from minillm.config import ModelConfig
from minillm.model.transformer import Transformer


class ModelSize(NamedTuple):
    """Numbers of trainable parameters.

    Attributes:
        total: All of them; a tied embedding counts once.
        active: Those that one token meets: all but the experts that are not chosen for it.
        embedding: Those in tables that ids or positions are looked up in.
        multiplied: Those that a token is multiplied by, in matrix products; the head is among
            them, also where it is the embedding.
    """

    total: int
    active: int
    embedding: int
    multiplied: int


def build_on_meta(config: ModelConfig) -> Transformer:
    """The model with shapes and dtypes but no numbers, in no memory."""
    with torch.device("meta"):
        return Transformer(config)


@cache
def model_size(config: ModelConfig) -> ModelSize:
    """Counts the parameters of a model by what becomes of them."""
    total = active = embedding = multiplied = 0
    for name, parameter in build_on_meta(config).named_parameters():
        count = parameter.numel()
        total += count
        if ".experts." in name:
            count = count * config.n_experts_per_token // config.n_experts
        active += count
        if parameter.ndim < 2:
            continue
        if "embed" in name:
            embedding += count
        else:
            multiplied += count
    if config.tie_embeddings:
        multiplied += config.vocab_size * config.d_model
    return ModelSize(total, active, embedding, multiplied)


def flops_per_token(config: ModelConfig, seq_len: int | None = None) -> int:
    """Floating-point operations to train on one token, forward and backward.

    6 per parameter of a matrix product (2 forward, 4 backward; Kaplan et al., arXiv:2001.08361,
    section 2.1) and, for attention's two products, per channel of query and value heads and
    position in reach (Chowdhery et al., PaLM, arXiv:2204.02311, appendix B). That counts the masked
    half of attention too, as nanoGPT and most published utilizations do, so that ours compare with
    theirs; it leaves out what is no matrix product: norms, softmax, activations, the optimizer.

    Args:
        config: Shape of the model.
        seq_len: Tokens per sequence; the model's `context_length` when absent.
    """
    length = config.context_length if seq_len is None else seq_len
    windows = [config.window(layer) or length for layer in range(config.n_layers)]
    seen = sum(min(window, length) for window in windows)
    attention = 6 * config.n_heads * (config.d_score + config.d_value) * seen
    return 6 * model_size(config).multiplied + attention
