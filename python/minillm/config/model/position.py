"""Positions: how a token knows its place, and how far a model reaches."""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from minillm.config.model.attention import AttentionConfig

Ramp = tuple[PositiveFloat, PositiveFloat]


def _default_original_context(given: dict[str, Any]) -> int:
    return int(max(1, round(given["context_length"] / given["rope_scaling_factor"])))


class PositionConfig(AttentionConfig):
    """How a token knows its place."""

    position: Literal["rope", "nope", "learned"] = "rope"
    """how a token knows its place: rotation, not at all, or a learned table"""
    nope_interval: NonNegativeInt = 0
    """every n-th layer goes without RoPE, as in SmolLM3; 0 for none"""
    rope_theta: PositiveFloat = Field(10_000.0, gt=1)
    """base of RoPE's wavelengths; larger reaches further back"""
    rope_fraction: PositiveFloat = Field(1.0, le=1)
    """share of each head's channels that RoPE turns, the first ones"""
    rope_pairs: Literal["half", "interleaved"] = "half"
    """which channels turn together: i and i + half, as in Llama's checkpoints, or 2i and 2i + 1, as
    in the paper"""
    rope_scaling: Literal["none", "linear", "ntk", "yarn", "llama3"] = "none"
    """how RoPE reaches beyond the context that it was trained with"""
    rope_scaling_factor: PositiveFloat = Field(1.0, ge=1)
    """how many times further than rope_original_context it reaches"""
    rope_original_context: PositiveInt = Field(default_factory=_default_original_context)
    """context of the training before, in tokens; yarn and llama3 measure by it; context_length /
    rope_scaling_factor when absent"""
    rope_yarn_ramp: Ramp = Field((1.0, 32.0), strict=False)
    """yarn: turns within rope_original_context; pairs with fewer than the first are stretched in
    full, with more than the second not at all"""
    rope_llama3_ramp: Ramp = Field((1.0, 4.0), strict=False)
    """the same for llama3"""

    @property
    def d_rope(self) -> int:
        """Channels per head that RoPE turns."""
        whole = self.attention == "mla"
        return self.d_head_rope if whole else int(self.d_head * self.rope_fraction)

    def has_rope(self, layer: int) -> bool:
        """Whether a layer turns its queries and keys."""
        is_nope = self.nope_interval > 0 and (layer + 1) % self.nope_interval == 0
        return self.position == "rope" and not is_nope

    @model_validator(mode="after")
    def _check_rope(self) -> Self:
        if self.position != "rope":
            return self
        name = "d_head_rope" if self.attention == "mla" else "d_head"
        turning = f"{name} ({getattr(self, name)})"
        if self.rope_fraction != 1:
            turning += f" times rope_fraction ({self.rope_fraction:g}), {self.d_rope} channels,"
        if self.d_rope % 2 or self.d_rope == 0:
            raise ValueError(f"{turning} must be even and above 0: RoPE turns channels in pairs")
        if self.rope_scaling == "ntk" and self.d_rope == 2:
            raise ValueError(
                f"{turning} must be above 2 with rope_scaling (ntk), which slows the last pair of"
                " channels and not the first"
            )
        if self.nope_interval == 1 or self.nope_interval > self.n_layers:
            raise ValueError(
                f"nope_interval ({self.nope_interval}) must be 0 for RoPE in all layers, or 2 to"
                f" n_layers ({self.n_layers}); for RoPE in none, set position to nope"
            )
        for name in ("rope_yarn_ramp", "rope_llama3_ramp"):
            low, high = getattr(self, name)
            if self.rope_scaling != "none" and low >= high:
                raise ValueError(
                    f"{name} ({low:g}, {high:g}) must begin with the fewer turns, as in (1, 32)"
                )
        return self
