"""Positions: how a token knows its place."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from minillm.config.model.attention import AttentionConfig


class PositionConfig(AttentionConfig):
    """How a token knows its place."""

    position: Literal["rope", "nope", "learned"] = Field(
        "rope", description="how a token knows its place: rotation, not at all, or a learned table"
    )
    rope_theta: PositiveFloat = Field(
        10_000.0, description="base of RoPE's wavelengths; larger reaches further back"
    )

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        if self.position == "rope" and self.d_head % 2:
            raise ValueError(f"d_head ({self.d_head}) must be even: RoPE turns channels in pairs")
        return self
