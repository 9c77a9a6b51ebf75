"""The residual stream: its norms, its two ends, and dropout."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from minillm.config.model.shape import ShapeConfig


class ResidualConfig(ShapeConfig):
    """What happens to the stream that all blocks read from and write into."""

    norm: Literal["rmsnorm", "layernorm"] = Field(
        "rmsnorm", description="normalization before each sub-layer and before the head"
    )
    norm_eps: PositiveFloat = Field(1e-5, description="added to the mean square before its root")
    dropout: NonNegativeFloat = Field(
        0.0, lt=1, description="share of channels dropped after the embedding and each sub-layer"
    )
    tie_embeddings: bool = Field(
        True, description="use the token embedding as the output head as well"
    )
