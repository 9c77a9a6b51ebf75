"""Feed-forward layers: what each position does by itself."""

from typing import Any, Literal

from pydantic import Field, PositiveInt

from minillm.config.model.shape import ShapeConfig

FFN_MULTIPLE = 64
"""SwiGLU's width is rounded up to this: the tile of a matrix kernel, and a cache line of floats."""


def swiglu_width(d_model: int) -> int:
    """Hidden width of a SwiGLU that costs as much as a plain layer of width 4 d_model.

    Three matrices instead of two, so two thirds of 4 d_model (Shazeer, "GLU Variants Improve
    Transformer", arXiv:2002.05202, section 2), rounded up to a multiple of 64.
    """
    return -(-8 * d_model // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE


def _default_d_ff(given: dict[str, Any]) -> int:
    d_model: int = given["d_model"]
    return swiglu_width(d_model) if given["ffn"] == "swiglu" else 4 * d_model


class FfnConfig(ShapeConfig):
    """The layer between two attentions."""

    ffn: Literal["swiglu", "gelu", "relu2"] = "swiglu"
    """feed-forward layer: gated SiLU, GELU, or squared ReLU"""
    d_ff: PositiveInt = Field(default_factory=_default_d_ff)
    """hidden channels of the feed-forward layer; when absent 8/3 d_model rounded up to a multiple
    of 64 for swiglu, else 4 d_model"""
    ffn_bias: bool = False
    """biases in the feed-forward projections"""
