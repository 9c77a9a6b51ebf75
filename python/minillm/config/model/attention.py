"""Attention: its heads, and how their scores are computed."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from minillm.config.model.shape import ShapeConfig


def _default_d_head(given: dict[str, Any]) -> int:
    # Never 0: a width that does not divide is reported by the validator below, with both numbers.
    return int(max(1, given["d_model"] // given["n_heads"]))


class AttentionConfig(ShapeConfig):
    """How positions look at one another."""

    n_kv_heads: PositiveInt = Field(
        default_factory=lambda given: given["n_heads"],
        description="key and value heads per block; fewer than n_heads is grouped-query attention; "
        "n_heads when absent",
    )
    d_head: PositiveInt = Field(
        default_factory=_default_d_head,
        description="channels per head; d_model / n_heads when absent",
    )
    qk_norm: bool = Field(
        False, description="RMS-normalize each head's queries and keys, with a learned scale"
    )
    attention_bias: bool = Field(False, description="biases in q_proj, k_proj, v_proj and o_proj")
    attention_dropout: NonNegativeFloat = Field(
        0.0, lt=1, description="share of attention weights dropped"
    )
    attention: Literal["sdpa", "reference"] = Field(
        "sdpa", description="PyTorch's fused attention, or the one written out in the open"
    )

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if "d_head" not in self.model_fields_set and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model ({self.d_model}) must be a multiple of n_heads ({self.n_heads})"
                " when d_head is absent"
            )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads ({self.n_heads}) must be a multiple of n_kv_heads ({self.n_kv_heads})"
            )
        return self
