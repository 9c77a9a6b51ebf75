"""The residual stream: its norms, what is mixed into it, its two ends, and dropout."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from minillm.config.model.shape import ShapeConfig

VALUE_GATE_CHANNELS = 32
"""First channels of the stream that the gate of a value embedding reads, as in nanochat."""


class ResidualConfig(ShapeConfig):
    """What happens to the stream that all blocks read from and write into."""

    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """normalization before each sub-layer and before the head"""
    norm_eps: PositiveFloat = 1e-5
    """added to the mean square before its root"""
    norm_scale: bool = True
    """learned scale, and for layernorm shift, in every norm; qk_norm's too"""
    embedding_norm: bool = False
    """a norm after the embedding as well"""
    x0_skip: bool = False
    """before each block, mix the embedding back in: a x + b x0, a and b learned"""
    value_embeddings: bool = False
    """in every second block, the last among them, add a learned vector per token to the attention's
    values"""
    zero_init_outputs: bool = False
    """start o_proj and down_proj at 0: each block begins as the identity"""
    dropout: NonNegativeFloat = Field(0.0, lt=1)
    """share of channels dropped after the embedding and each sub-layer"""
    tie_embeddings: bool = True
    """use the token embedding as the output head as well"""
    logit_softcap: NonNegativeFloat = 0.0
    """bound of the logits, c tanh(logits / c); 0 does not bound"""

    def has_token_values(self, layer: int) -> bool:
        """Whether block number `layer` adds value embeddings."""
        return self.value_embeddings and (self.n_layers - 1 - layer) % 2 == 0
