"""The shape of a model: everything that decides which weights exist and how they are used.

Widths that follow from others (`n_kv_heads`, `d_head`, `d_ff`) are filled in when they are absent,
so that a resolved file says every one of them and a later change of the rule cannot change a
trained model.
"""

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from minillm.config.section import Section

FFN_MULTIPLE = 64
"""SwiGLU's width is rounded up to this: the tile of a matrix kernel, and a cache line of floats."""


def swiglu_width(d_model: int) -> int:
    """Hidden width of a SwiGLU that costs as much as a plain layer of width 4 d_model.

    Three matrices instead of two, so two thirds of 4 d_model (Shazeer, "GLU Variants Improve
    Transformer", arXiv:2002.05202, section 2), rounded up to a multiple of 64.
    """
    return -(-8 * d_model // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE


def _default_d_head(given: dict[str, Any]) -> int:
    # Never 0: a width that does not divide is reported by the validator below, with both numbers.
    return int(max(1, given["d_model"] // given["n_heads"]))


def _default_d_ff(given: dict[str, Any]) -> int:
    d_model: int = given["d_model"]
    return swiglu_width(d_model) if given["ffn"] == "swiglu" else 4 * d_model


class ModelConfig(Section):
    """Shape of a decoder-only transformer."""

    vocab_size: PositiveInt = Field(
        32_000, description="number of token ids; taken from the data's tokenizer when absent"
    )
    context_length: PositiveInt = Field(256, description="longest sequence, in tokens")
    d_model: PositiveInt = Field(256, description="width of the residual stream, in channels")
    n_layers: PositiveInt = Field(4, description="number of transformer blocks")
    n_heads: PositiveInt = Field(4, description="query heads per block")
    n_kv_heads: PositiveInt = Field(
        default_factory=lambda given: given["n_heads"],
        description="key and value heads per block; fewer than n_heads is grouped-query attention; "
        "n_heads when absent",
    )
    d_head: PositiveInt = Field(
        default_factory=_default_d_head,
        description="channels per head; d_model / n_heads when absent",
    )
    ffn: Literal["swiglu", "gelu", "relu2"] = Field(
        "swiglu", description="feed-forward layer: gated SiLU, GELU, or squared ReLU"
    )
    d_ff: PositiveInt = Field(
        default_factory=_default_d_ff,
        description="hidden channels of the feed-forward layer; when absent 8/3 d_model rounded up "
        "to a multiple of 64 for swiglu, else 4 d_model",
    )
    norm: Literal["rmsnorm", "layernorm"] = Field(
        "rmsnorm", description="normalization before each sub-layer and before the head"
    )
    norm_eps: PositiveFloat = Field(1e-5, description="added to the mean square before its root")
    position: Literal["rope", "nope", "learned"] = Field(
        "rope", description="how a token knows its place: rotation, not at all, or a learned table"
    )
    rope_theta: PositiveFloat = Field(
        10_000.0, description="base of RoPE's wavelengths; larger reaches further back"
    )
    qk_norm: bool = Field(
        False, description="RMS-normalize each head's queries and keys, with a learned scale"
    )
    attention_bias: bool = Field(False, description="biases in q_proj, k_proj, v_proj and o_proj")
    ffn_bias: bool = Field(False, description="biases in the feed-forward projections")
    dropout: NonNegativeFloat = Field(
        0.0, lt=1, description="share of channels dropped after the embedding and each sub-layer"
    )
    attention_dropout: NonNegativeFloat = Field(
        0.0, lt=1, description="share of attention weights dropped"
    )
    tie_embeddings: bool = Field(
        True, description="use the token embedding as the output head as well"
    )
    attention: Literal["sdpa", "reference"] = Field(
        "sdpa", description="PyTorch's fused attention, or the one written out in the open"
    )
    init_std: PositiveFloat = Field(
        0.02, description="standard deviation of the initial weights, before depth scaling"
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
        if self.position == "rope" and self.d_head % 2:
            raise ValueError(f"d_head ({self.d_head}) must be even: RoPE turns channels in pairs")
        return self
