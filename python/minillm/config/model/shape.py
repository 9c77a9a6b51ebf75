"""The outline of a model: how many tokens, how wide, how deep, how long."""

from pydantic import Field, PositiveFloat, PositiveInt

from minillm.config.section import Section


class ShapeConfig(Section):
    """What every other part of the model's configuration builds on."""

    vocab_size: PositiveInt = Field(
        32_000, description="number of token ids; taken from the data's tokenizer when absent"
    )
    context_length: PositiveInt = Field(256, description="longest sequence, in tokens")
    d_model: PositiveInt = Field(256, description="width of the residual stream, in channels")
    n_layers: PositiveInt = Field(4, description="number of transformer blocks")
    n_heads: PositiveInt = Field(4, description="query heads per block")
    init_std: PositiveFloat = Field(
        0.02, description="standard deviation of the initial weights, before depth scaling"
    )
