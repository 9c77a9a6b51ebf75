"""Feed-forward layers: what each position does by itself."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.layers import Linear


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202, equation 6)."""

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias=bias)
        self.up_proj = Linear(d_model, d_ff, bias=bias)
        self.down_proj = Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Transforms each position."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class GELUFeedForward(nn.Module):
    """down(gelu(up(x))), with GPT-2's tanh formula."""

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False) -> None:
        super().__init__()
        self.up_proj = Linear(d_model, d_ff, bias=bias)
        self.down_proj = Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Transforms each position."""
        out: Tensor = self.down_proj(functional.gelu(self.up_proj(x), approximate="tanh"))
        return out


class ReLU2FeedForward(nn.Module):
    """down(relu(up(x))^2) (So et al., "Primer", arXiv:2109.08668)."""

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False) -> None:
        super().__init__()
        self.up_proj = Linear(d_model, d_ff, bias=bias)
        self.down_proj = Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Transforms each position."""
        out: Tensor = self.down_proj(functional.relu(self.up_proj(x)).square())
        return out


FEED_FORWARD = {"swiglu": SwiGLU, "gelu": GELUFeedForward, "relu2": ReLU2FeedForward}
"""The layer behind each value of `model.ffn`."""


def build_feed_forward(config: ModelConfig) -> nn.Module:
    """The feed-forward layer that a configuration asks for."""
    return FEED_FORWARD[config.ffn](config.d_model, config.d_ff, bias=config.ffn_bias)
