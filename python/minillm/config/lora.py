"""Low-rank adapters: whether a run trains them in place of all weights, how large, and where."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from minillm.config.section import Section

ALL_LINEAR = "all-linear"
"""The target that stands for every projection of every block."""


class LoraConfig(Section):
    """Shape of an adapter; the factors of each adapted matrix have `rank` rows or columns."""

    rank: NonNegativeInt = 0
    """rank of the change to each adapted matrix; 0 trains all weights instead"""
    alpha: PositiveFloat = 32.0
    """weight of the change: alpha / rank, for rslora alpha / sqrt(rank)"""
    dropout: NonNegativeFloat = Field(0.0, lt=1)
    """share of the adapters' inputs dropped in training"""
    kind: Literal["lora", "rslora", "dora"] = "lora"
    """plain, rank-stabilized scale, or direction and magnitude apart"""
    targets: tuple[str, ...] = Field((ALL_LINEAR,), strict=False, min_length=1)
    """what is adapted: names such as q_proj, embed_tokens, lm_head or layers.0.ffn.up_proj;
    all-linear is every projection of every block"""

    @property
    def scale(self) -> float:
        """Factor of the change (LoRA section 4.1; rsLoRA, arXiv:2312.03732, theorem 3.2)."""
        return self.alpha / (self.rank**0.5 if self.kind == "rslora" else self.rank)
