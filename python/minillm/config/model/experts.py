"""Mixture of experts: many feed-forward layers, of which each token uses a few."""

from typing import Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from minillm.config.model.ffn import FFN_MULTIPLE, FfnConfig


def _default_d_expert(given: dict[str, Any]) -> int:
    n_active = given["n_experts_per_token"] + given["n_shared_experts"]
    return int(-(-given["d_ff"] // (n_active * FFN_MULTIPLE)) * FFN_MULTIPLE)


class ExpertsConfig(FfnConfig):
    """Which layers hold experts, and how tokens are spread over them."""

    n_experts: NonNegativeInt = 0
    """feed-forward layers per block that tokens are routed to; 0 is a dense model"""
    n_experts_per_token: PositiveInt = 2
    """experts that each token is routed to"""
    n_shared_experts: NonNegativeInt = 0
    """experts beside them that every token uses; stored as one of this width"""
    d_expert: PositiveInt = Field(default_factory=_default_d_expert)
    """hidden channels of one expert; when absent d_ff over the experts that a token uses, rounded
    up to a multiple of 64: as much arithmetic as a dense layer"""
    n_dense_layers: NonNegativeInt = 0
    """first blocks that keep one feed-forward layer of width d_ff"""
    router_score: Literal["softmax", "sigmoid"] = "softmax"
    """experts compete for a token, or each is scored by itself"""
    router_normalize: bool = Field(default_factory=lambda given: given["n_experts_per_token"] > 1)
    """divide the chosen scores by their sum; true when absent, but for 1 expert"""
    router_scale: PositiveFloat = 1.0
    """multiplies the weights of the chosen experts (DeepSeek-V3: 2.5)"""
    balance: Literal["aux", "bias", "none"] = "aux"
    """even load by an auxiliary loss, by a bias on the choice, or not at all"""
    balance_rate: NonNegativeFloat = 1e-3
    """weight of the auxiliary loss, or change of the bias per optimizer step"""
    router_z_loss: NonNegativeFloat = 0.0
    """weight of the loss that keeps router logits small (ST-MoE: 1e-3)"""

    @model_validator(mode="after")
    def _check_experts(self) -> Self:
        if self.n_experts and self.n_dense_layers >= self.n_layers:
            raise ValueError(
                f"n_dense_layers ({self.n_dense_layers}) must be less than n_layers"
                f" ({self.n_layers}), or no block holds the n_experts ({self.n_experts})"
            )
        return self
