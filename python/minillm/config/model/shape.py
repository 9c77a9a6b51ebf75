"""The outline of a model: how many tokens, how wide, how deep, how long."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from minillm.config.section import Section


def size_of_depth(depth: int) -> dict[str, int]:
    """The size that goes with a depth: 64 channels a layer, as nanochat scales its models.

    Heads have 64 channels in models narrower than 512 and 128 from there on, where fewer, wider
    heads keep attention kernels busier; the width is rounded up to a whole number of heads. So
    depth 4 is `tiny` and depth 12 is `small`.
    """
    d_head = 64 if depth < 8 else 128
    n_heads = -(-64 * depth // d_head)
    return {
        "n_layers": depth,
        "d_model": n_heads * d_head,
        "n_heads": n_heads,
        "context_length": 256 if depth <= 4 else 1024 if depth <= 16 else 2048,
    }


SIZE_FIELDS = ("n_kv_heads", *size_of_depth(1))
"""With every width (`d_*`), what a preset says of size, and a depth given over it makes void."""


class ShapeConfig(Section):
    """What every other part of the model's configuration builds on."""

    depth: PositiveInt | None = Field(None, exclude=True)
    """one dial for the size: n_layers, d_model, n_heads and context_length follow where they are
    not given"""
    vocab_size: PositiveInt = 32_000
    """number of token ids; taken from the data's tokenizer when absent"""
    context_length: PositiveInt = 256
    """longest sequence, in tokens"""
    d_model: PositiveInt = 256
    """width of the residual stream, in channels"""
    n_layers: PositiveInt = 4
    """number of transformer blocks"""
    n_heads: PositiveInt = 4
    """query heads per block"""
    init_std: PositiveFloat = 0.02
    """standard deviation of the initial weights, before depth scaling"""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_depth(cls, given: Any) -> Any:  # noqa: ANN401 - still raw
        """Puts the fields that follow from `depth` in its place, so that a saved file has them."""
        depth = given.get("depth") if isinstance(given, Mapping) else None
        if type(depth) is not int or depth < 1:  # its field says what is wrong with it
            return given
        return size_of_depth(depth) | {name: given[name] for name in given if name != "depth"}
