"""The modules that blocks are made of: linear, embedding, and the norms.

Plain containers of a weight around PyTorch's kernels; `init.py` says how the weights start.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.init import DEFAULT_STD, draw

_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)


def linear(
    x: Float[Tensor, "*B I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*B O"]:
    """Maps the last axis: x W^T + b.

    In inference mode on a CPU, oneDNN multiplies float32, which PyTorch would leave to MKL: on an
    AMD EPYC that takes 1.8 times as long for one row and 2 to 3 times for 2 to 128 rows. PyTorch's
    own compiler calls the same operator; it has no gradient.
    """
    is_plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    # Compiled code chooses its own kernels, and autocast another type.
    is_eager = not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    if is_plain and is_eager and torch.is_inference_mode_enabled() and _HAS_ONEDNN:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return functional.linear(x, weight, bias)


class Linear(nn.Module):
    """y = x W^T + b. The weight is stored (d_out, d_in), as checkpoints everywhere store it."""

    def __init__(
        self, d_in: int, d_out: int, *, bias: bool = False, std: float = DEFAULT_STD
    ) -> None:
        """Draws a weight with standard deviation `std`, and starts the bias at 0."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None
        draw(self.weight, std)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """Applies the map to the last axis."""
        return linear(x, self.weight, self.bias)

    def matrix(self) -> Float[Tensor, "O I"]:
        """The weight in effect, for who multiplies by it in another way."""
        return self.weight


class Embedding(nn.Module):
    """A table of `n_rows` learned vectors."""

    def __init__(self, n_rows: int, d_model: int, *, std: float = DEFAULT_STD) -> None:
        """Draws the table with standard deviation `std`."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_rows, d_model))
        draw(self.weight, std)

    def forward(self, ids: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """Looks each id up."""
        return functional.embedding(ids, self.weight)

    def unembed(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Scores of every row: the table as a tied output head."""
        return linear(x, self.weight)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, over the last axis (arXiv:1910.07467, equation 4).

    Without the scale it is the parameter-free norm of modded-nanogpt and nanochat.

    The result has the input's dtype, also where the weight is wider: queries and keys come here in
    bfloat16 under autocast, and attention's kernel wants them so.
    """

    def __init__(self, d_model: int, *, eps: float, scale: bool = True) -> None:
        """Starts the scale at 1; without `scale` there is nothing to learn."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model)) if scale else None
        self.eps = eps

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Normalizes each vector."""
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return functional.rms_norm(x, x.shape[-1:], weight, self.eps)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last axis (arXiv:1607.06450).

    Without scale and shift it is OLMo's non-parametric norm (arXiv:2402.00838, section 2.1).
    """

    def __init__(self, d_model: int, *, eps: float, scale: bool = True) -> None:
        """Starts the scale at 1 and the shift at 0; without `scale` there is neither."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model)) if scale else None
        self.bias = nn.Parameter(torch.zeros(d_model)) if scale else None
        self.eps = eps

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Normalizes each vector."""
        weight, bias = (None if p is None else p.to(x.dtype) for p in (self.weight, self.bias))
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self.eps)


def build_norm(config: ModelConfig) -> nn.Module:
    """The norm over d_model that a configuration asks for."""
    norm = RMSNorm if config.norm == "rmsnorm" else LayerNorm
    return norm(config.d_model, eps=config.norm_eps, scale=config.norm_scale)
