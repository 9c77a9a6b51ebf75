"""What a low-rank adapter is: its size, its place, its kind."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from minillm.config.section import Section

ALL_LINEAR = "all-linear"
"""The target that stands for every projection of every block."""


class LoraConfig(Section):
    """Shape of an adapter; the factors of each adapted matrix have `rank` rows or columns."""

    rank: PositiveInt = Field(16, description="rank of the change to each adapted matrix")
    alpha: PositiveFloat = Field(
        32.0, description="weight of the change: alpha / rank, for rslora alpha / sqrt(rank)"
    )
    dropout: NonNegativeFloat = Field(
        0.0, lt=1, description="share of the adapters' inputs dropped in training"
    )
    kind: Literal["lora", "rslora", "dora"] = Field(
        "lora", description="plain, rank-stabilized scale, or direction and magnitude apart"
    )
    targets: tuple[str, ...] = Field(
        (ALL_LINEAR,),
        strict=False,
        min_length=1,
        description="what is adapted: names such as q_proj, embed_tokens, lm_head or"
        f" layers.0.ffn.up_proj; {ALL_LINEAR} is every projection of every block",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "dora" and "embed_tokens" in self.targets:
            raise ValueError(
                "lora.kind (dora) does not go with embed_tokens in lora.targets: a row of an"
                " embedding is a token and has no output channel to give a magnitude to"
            )
        return self

    @property
    def scale(self) -> float:
        """Factor of the change (LoRA section 4.1; rsLoRA, arXiv:2312.03732, theorem 3.2)."""
        return self.alpha / (self.rank**0.5 if self.kind == "rslora" else self.rank)
