"""The arithmetic of a transformer as plain functions, each formula written out.

These are for reading, for courses, and for tests. Where PyTorch has a kernel for the same thing,
the modules beside this file call it, and `tests/unit/model/test_functional.py` holds the two
together; `attention: reference` in the configuration runs the attention from here.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""A target that asks for no prediction: padding, or the prompt in fine-tuning."""


def linear(
    x: Float[Tensor, "*B I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*B O"]:
    """Maps each row to weight @ row + bias."""
    y = x @ weight.T  # *B O
    return y if bias is None else y + bias


def embedding(ids: Int[Tensor, "*B"], weight: Float[Tensor, "V D"]) -> Float[Tensor, "*B D"]:
    """Row `id` of the table, for each id."""
    return weight[ids]


def softmax(x: Float[Tensor, "*B"], dim: int = -1) -> Float[Tensor, "*B"]:
    """Positive numbers that sum to 1 along `dim`, in proportion to exp(x).

    Subtracting the largest entry changes nothing but keeps exp from overflowing.
    """
    exp = (x - x.amax(dim, keepdim=True)).exp()
    return exp / exp.sum(dim, keepdim=True)


def log_sum_exp(x: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """Logarithm of the sum of exponentials along the last axis, without overflow."""
    largest = x.amax(-1, keepdim=True)  # *B 1
    return (x - largest).exp().sum(-1).log() + largest.squeeze(-1)


def cross_entropy(
    logits: Float[Tensor, "*B V"],
    targets: Int[Tensor, "*B"],
    *,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> Float[Tensor, "*out"]:
    """Surprise, in nats, of each target under softmax(logits).

    Args:
        logits: Unnormalized log-probabilities.
        targets: Ids; where one is -100, the loss is 0 and the mean does not count it.
        reduction: What to do with the losses of the batch.
    """
    counted = targets != IGNORED
    safe = torch.where(counted, targets, 0)
    of_target = logits.gather(-1, safe[..., None]).squeeze(-1)  # *B
    losses = torch.where(counted, log_sum_exp(logits) - of_target, 0.0)
    if reduction == "none":
        return losses
    return losses.sum() / (counted.sum() if reduction == "mean" else 1)


def silu(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Smooth ReLU, x * sigmoid(x) (Elfwing et al., arXiv:1702.03118)."""
    return x * torch.sigmoid(x)


def gelu(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """GELU by its tanh formula, as GPT-2 has it (Hendrycks and Gimpel, arXiv:1606.08415)."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu2(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """max(0, x) squared (So et al., "Primer", arXiv:2109.08668)."""
    return x.clamp(min=0) ** 2


def rms_norm(
    x: Float[Tensor, "*B D"], weight: Float[Tensor, " D"], eps: float = 1e-5
) -> Float[Tensor, "*B D"]:
    """Divides x by its root mean square, then scales each channel (arXiv:1910.07467).

    The mean square is taken in float32: in bfloat16 the squares of a wide row would lose their sum.
    """
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)  # *B 1
    return (wide * scale).to(x.dtype) * weight


def layer_norm(
    x: Float[Tensor, "*B D"],
    weight: Float[Tensor, " D"],
    bias: Float[Tensor, " D"],
    eps: float = 1e-5,
) -> Float[Tensor, "*B D"]:
    """Gives x mean 0 and variance 1, then scales and shifts each channel."""
    centered = x - x.mean(-1, keepdim=True)
    return centered * torch.rsqrt(centered.square().mean(-1, keepdim=True) + eps) * weight + bias


def causal_mask(n_queries: int, n_keys: int, device: torch.device) -> Bool[Tensor, "T S"]:
    """True where a query may look; the last query sees every key."""
    ones = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device)
    return ones.tril(diagonal=n_keys - n_queries)


def scaled_dot_product_attention(
    queries: Float[Tensor, "*B T K"],
    keys: Float[Tensor, "*B S K"],
    values: Float[Tensor, "*B S Kv"],
    mask: Bool[Tensor, "*#B T S"] | None = None,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "*B T Kv"]:
    """softmax(Q K^T / sqrt(K)) V (Vaswani et al., arXiv:1706.03762, equation 1).

    Args:
        queries: What each position asks.
        keys: What each position offers to be found by.
        values: What each position gives when found.
        mask: True where a query may look; everywhere when absent.
        dropout: Share of the attention weights to drop.
    """
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])  # *B T S
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = functional.dropout(softmax(scores), dropout, training=dropout > 0)
    return weights @ values  # *B T Kv


def swiglu(
    x: Float[Tensor, "*B D"],
    gate: Float[Tensor, "F D"],
    up: Float[Tensor, "F D"],
    down: Float[Tensor, "D F"],
) -> Float[Tensor, "*B D"]:
    """down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202, equation 6)."""
    return linear(silu(linear(x, gate)) * linear(x, up), down)


def mixture_of_experts(
    x: Float[Tensor, "N D"],
    router: Float[Tensor, "E D"],
    gates: Float[Tensor, "E F D"],
    ups: Float[Tensor, "E F D"],
    downs: Float[Tensor, "E D F"],
    *,
    n_chosen: int,
) -> Float[Tensor, "N D"]:
    """Sum over each token's `n_chosen` likeliest experts of weight times SwiGLU.

    The weights are softmax probabilities, divided by their sum over the chosen ones (Qwen3-MoE).
    """
    scores = softmax(linear(x, router))  # N E
    lowest = scores.topk(n_chosen).values[:, -1:]  # N 1
    kept = torch.where(scores >= lowest, scores, 0.0)  # N E
    weights = kept / kept.sum(-1, keepdim=True)  # N E
    y = torch.zeros_like(x)
    for expert, (gate, up, down) in enumerate(zip(gates, ups, downs, strict=True)):
        y = y + weights[:, expert, None] * swiglu(x, gate, up, down)
    return y
