"""Feed-forward layers: what each position does by itself."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.init import output_std
from minillm.model.layers import Linear


class FeedForward(nn.Module):
    """down(activation(up(x))) or, with the gate of `swiglu`, down(silu(gate(x)) * up(x)).

    SwiGLU is Shazeer's, arXiv:2002.05202, equation 6. The other activations are GELU by GPT-2's
    tanh formula, and the square of ReLU (So et al., "Primer", arXiv:2109.08668).
    """

    def __init__(
        self, config: ModelConfig, d_ff: int, *, linear: Callable[..., nn.Module] | None = None
    ) -> None:
        """Builds the layer that a configuration asks for, `d_ff` wide, of projections by `linear`.

        By default these are plain ones.
        """
        super().__init__()
        d_model, std = config.d_model, config.init_std
        linear = partial(Linear, bias=config.ffn_bias) if linear is None else linear
        self.gate_proj = linear(d_model, d_ff, std=std) if config.ffn == "swiglu" else None
        self.up_proj = linear(d_model, d_ff, std=std)
        self.down_proj = linear(d_ff, d_model, std=output_std(config))
        self.activation = ACTIVATIONS[config.ffn]

    def forward(self, x: Float[Tensor, "*B D"], *rows: Tensor) -> Float[Tensor, "*B D"]:
        """Transforms each position; `rows` is what the projections take beside it."""
        if self.gate_proj is None:
            hidden = self.activation(self.up_proj(x, *rows))
        else:
            hidden = self.activation(self.gate_proj(x, *rows)) * self.up_proj(x, *rows)
        out: Tensor = self.down_proj(hidden, *rows)
        return out


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
