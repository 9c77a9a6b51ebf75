"""Attention: its heads, what they may see, and how their scores are computed."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from minillm.config.model.shape import ShapeConfig


def _default_d_head(given: dict[str, Any]) -> int:
    # Never 0: a width that does not divide is reported by the validator below, with both numbers.
    return int(max(1, given["d_model"] // given["n_heads"]))


def _if_latent(width: Callable[[int], int]) -> Callable[[dict[str, Any]], int]:
    """Default width of a part of latent attention, from d_head; 0 where there is no such part."""
    return lambda given: width(given["d_head"]) if given["attention"] == "mla" else 0


class AttentionConfig(ShapeConfig):
    """How positions look at one another."""

    attention: Literal["gqa", "mla"] = "gqa"
    """layout of the heads: each with keys and values of its own or its group's (multi-head,
    grouped-query, multi-query, by n_kv_heads), or all from one small latent vector per position
    (multi-head latent attention)"""
    n_kv_heads: PositiveInt = Field(default_factory=lambda given: given["n_heads"])
    """key and value heads per block; fewer than n_heads is grouped-query attention, 1 is
    multi-query; n_heads when absent"""
    d_head: PositiveInt = Field(default_factory=_default_d_head)
    """channels per head; d_model / n_heads when absent"""
    d_latent_kv: NonNegativeInt = Field(default_factory=_if_latent(lambda d_head: 4 * d_head))
    """mla: channels of the latent vector that keys and values are made from, and that the cache
    holds; 4 d_head when absent, as in DeepSeek-V2"""
    d_latent_q: NonNegativeInt = 0
    """mla: channels of the latent that queries are made from; 0 for no latent"""
    d_head_rope: NonNegativeInt = Field(
        default_factory=_if_latent(lambda d_head: max(2, d_head // 4 * 2))
    )
    """mla: channels per head that carry the position, their key shared by all heads; d_head / 2
    when absent, rounded to be even"""
    d_head_nope: NonNegativeInt = Field(default_factory=_if_latent(lambda d_head: d_head))
    """mla: channels per query and key head that carry content; d_head when absent"""
    d_head_v: NonNegativeInt = Field(default_factory=_if_latent(lambda d_head: d_head))
    """mla: channels per value head; d_head when absent"""
    windows: tuple[NonNegativeInt, ...] = Field((), strict=False)
    """positions that each layer sees, itself included, as a pattern that repeats over the layers; 0
    sees all, and no pattern is 0 throughout"""
    qk_norm: bool = False
    """RMS-normalize each head's queries and keys, with a learned scale"""
    attention_bias: bool = False
    """biases in q_proj, k_proj, v_proj and o_proj; in mla in q_a_proj, kv_a_proj and o_proj"""
    attention_softcap: NonNegativeFloat = 0.0
    """bound c of the scores, c tanh(score / c); 0 for none"""
    attention_dropout: NonNegativeFloat = Field(0.0, lt=1)
    """share of attention weights dropped"""
    attention_backend: Literal["sdpa", "flex", "reference"] = "sdpa"
    """PyTorch's fused attention, its FlexAttention (which skips what a window or another document
    hides), or the formula written out"""

    @property
    def d_score(self) -> int:
        """Channels of a query head and of the key that it meets."""
        return self.d_head_nope + self.d_head_rope if self.attention == "mla" else self.d_head

    @property
    def d_value(self) -> int:
        """Channels of a value head."""
        return self.d_head_v if self.attention == "mla" else self.d_head

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """What a layer's cache keeps of one position: heads, key channels, value channels.

        Latent attention keeps its latent and the shared key, as the key of one head.
        """
        if self.attention == "mla":
            return 1, self.d_latent_kv + self.d_head_rope, 0
        return self.n_kv_heads, self.d_head, self.d_head

    def without_flex(self) -> Self:
        """The same model by what computes the same scores where FlexAttention cannot train."""
        if self.attention_backend != "flex":
            return self
        backend = "reference" if self.attention_softcap else "sdpa"
        return self.model_copy(update={"attention_backend": backend})

    def window(self, layer: int) -> int:
        """Positions that a layer sees, itself included; 0 for all."""
        return self.windows[layer % len(self.windows)] if self.windows else 0

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
        if len(self.windows) > self.n_layers:
            raise ValueError(
                f"windows ({len(self.windows)} of them) must not be more than n_layers"
                f" ({self.n_layers})"
            )
        if self.attention == "mla" and self.n_kv_heads != self.n_heads:
            raise ValueError(
                f"n_kv_heads ({self.n_kv_heads}) must be n_heads ({self.n_heads}) with attention"
                " (mla): every head makes keys of its own from the latent"
            )
        return self
