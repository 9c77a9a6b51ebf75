"""Feed-forward layers: what each position does by itself."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.init import DEFAULT_STD, output_std
from minillm.model.layers import Linear


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202, equation 6)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        bias: bool = False,
        std: float = DEFAULT_STD,
        down_std: float = DEFAULT_STD,
    ) -> None:
        """Draws `down_proj` with `down_std` and the others with `std`."""
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias=bias, std=std)
        self.up_proj = Linear(d_model, d_ff, bias=bias, std=std)
        self.down_proj = Linear(d_ff, d_model, bias=bias, std=down_std)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Transforms each position."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class FeedForward(nn.Module):
    """down(activation(up(x))).

    The activation is GELU by GPT-2's tanh formula, or the square of ReLU (So et al., "Primer",
    arXiv:2109.08668).
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: Literal["gelu", "relu2"],
        bias: bool = False,
        std: float = DEFAULT_STD,
        down_std: float = DEFAULT_STD,
    ) -> None:
        """Draws `down_proj` with `down_std` and `up_proj` with `std`."""
        super().__init__()
        self.up_proj = Linear(d_model, d_ff, bias=bias, std=std)
        self.down_proj = Linear(d_ff, d_model, bias=bias, std=down_std)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Transforms each position."""
        out: Tensor = self.down_proj(self.activation(self.up_proj(x)))
        return out


def dense_feed_forward(config: ModelConfig, d_ff: int) -> nn.Module:
    """The feed-forward layer that a configuration asks for, `d_ff` wide."""
    d_model, bias = config.d_model, config.ffn_bias
    std, down_std = config.init_std, output_std(config)
    if config.ffn == "swiglu":
        return SwiGLU(d_model, d_ff, bias=bias, std=std, down_std=down_std)
    return FeedForward(d_model, d_ff, activation=config.ffn, bias=bias, std=std, down_std=down_std)


def _gelu(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    return functional.gelu(x, approximate="tanh")


def _relu2(x: Float[Tensor, "*B F"]) -> Float[Tensor, "*B F"]:
    return functional.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": functional.silu,
    "gelu": _gelu,
    "relu2": _relu2,
}
"""What stands between up and down, of the gate for swiglu."""
