"""A transformer as plain functions, each formula written out: slow, separate, obvious.

Where PyTorch has a kernel for the same thing, the modules of `minillm.model` call it, and
`tests/unit/model/test_textbook.py` holds the two together. From `linear` up to `transformer`, each
function is built of those above it and takes its weights as arguments, named and shaped as the
modules' `state_dict` has them: a course's tests, whose weights have names of their own, rename them
(`docs/course.md`).
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from minillm.model import IGNORED


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
    scale: float | None = None,
    softcap: float = 0.0,
    dropout: float = 0.0,
) -> Float[Tensor, "*B T Kv"]:
    """softmax(Q K^T / sqrt(K)) V (Vaswani et al., arXiv:1706.03762, equation 1).

    Args:
        queries: What each position asks.
        keys: What each position offers to be found by.
        values: What each position gives when found.
        mask: True where a query may look; everywhere when absent.
        scale: Factor of the scores; 1 / sqrt(K) when absent.
        softcap: Bound c of the scores, c tanh(score / c) (arXiv:2408.00118); 0 for none.
        dropout: Share of the attention weights to drop.
    """
    scale = 1 / math.sqrt(queries.shape[-1]) if scale is None else scale
    scores = queries @ keys.transpose(-2, -1) * scale  # *B T S
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
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

    The weights are softmax probabilities, divided by their sum over the chosen ones (Qwen3-MoE). Of
    experts that are equally likely all are taken, so there may be more of them than `n_chosen`; the
    module's `topk` takes exactly as many.
    """
    scores = softmax(linear(x, router))  # N E
    lowest = scores.topk(n_chosen).values[:, -1:]  # N 1
    kept = torch.where(scores >= lowest, scores, 0.0)  # N E
    weights = kept / kept.sum(-1, keepdim=True)  # N E
    y = torch.zeros_like(x)
    for expert, (gate, up, down) in enumerate(zip(gates, ups, downs, strict=True)):
        y = y + weights[:, expert, None] * swiglu(x, gate, up, down)
    return y


def rope(
    x: Float[Tensor, "*B T K"],
    positions: Int[Tensor, "*#B T"],
    *,
    theta: float = 10_000.0,
    pairs: Literal["half", "interleaved"] = "half",
) -> Float[Tensor, "*B T K"]:
    """Turns channel pair i by the angle position * theta^(-2i / K) (arXiv:2104.09864, eq. 15).

    Args:
        x: Queries or keys. K must be even.
        positions: 0-based position of each token, for instance `torch.arange(T)`.
        theta: Base of the wavelengths.
        pairs: Which channels form pair i: i and i + K/2, as Llama's checkpoints and our modules
            have it, or 2i and 2i + 1, as in the paper. The same up to the order of the channels.
    """
    exponent = torch.arange(0, x.shape[-1], 2, device=x.device) / x.shape[-1]
    angles = positions[..., None].float() * theta**-exponent  # *B T half
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)  # *B T half
    a, b = x.chunk(2, dim=-1) if pairs == "half" else (x[..., 0::2], x[..., 1::2])  # *B T half
    turned = (a * cos - b * sin, a * sin + b * cos)
    return torch.cat(turned, -1) if pairs == "half" else torch.stack(turned, -1).flatten(-2)


def multi_head_self_attention(
    x: Float[Tensor, "*B T D"],
    q_proj: Float[Tensor, "HK D"],
    k_proj: Float[Tensor, "GK D"],
    v_proj: Float[Tensor, "GKv D"],
    o_proj: Float[Tensor, "D HKv"],
    *,
    n_heads: int,
    q_norm: Float[Tensor, " K"] | None = None,
    k_norm: Float[Tensor, " K"] | None = None,
    norm_eps: float = 1e-5,
    positions: Int[Tensor, "*#B T"] | None = None,
    rope_theta: float = 10_000.0,
    rope_pairs: Literal["half", "interleaved"] = "half",
) -> Float[Tensor, "*B T D"]:
    """Attention of each position to itself and to what came before it (arXiv:1706.03762, 3.2.2).

    Args:
        x: One vector per token.
        q_proj: Makes the queries; its first K rows are those of the first head, and so on.
        k_proj: Makes the keys; with fewer rows than q_proj, neighbouring heads share theirs.
        v_proj: Makes the values.
        o_proj: Mixes the heads' results.
        n_heads: Query heads, H.
        q_norm: Scale of an RMS norm of each query before RoPE; none when absent.
        k_norm: The same for the keys.
        norm_eps: Of these two norms.
        positions: Where each token stands, for RoPE; when absent, nothing turns.
        rope_theta: As in `rope`.
        rope_pairs: As in `rope`.
    """
    d_head = q_proj.shape[0] // n_heads
    n_kv_heads = k_proj.shape[0] // d_head
    queries = linear(x, q_proj).unflatten(-1, (n_heads, -1)).transpose(-2, -3)  # *B H T K
    keys = linear(x, k_proj).unflatten(-1, (n_kv_heads, -1)).transpose(-2, -3)  # *B G T K
    values = linear(x, v_proj).unflatten(-1, (n_kv_heads, -1)).transpose(-2, -3)  # *B G T Kv
    if q_norm is not None and k_norm is not None:
        queries, keys = rms_norm(queries, q_norm, norm_eps), rms_norm(keys, k_norm, norm_eps)
    if positions is not None:
        of_heads = positions[..., None, :]  # *B 1 T: all heads stand at the same place
        queries = rope(queries, of_heads, theta=rope_theta, pairs=rope_pairs)
        keys = rope(keys, of_heads, theta=rope_theta, pairs=rope_pairs)
    keys = keys.repeat_interleave(n_heads // n_kv_heads, dim=-3)  # *B H T K
    values = values.repeat_interleave(n_heads // n_kv_heads, dim=-3)  # *B H T Kv
    mask = causal_mask(x.shape[-2], x.shape[-2], x.device)  # T T
    mixed = scaled_dot_product_attention(queries, keys, values, mask)  # *B H T Kv
    return linear(mixed.transpose(-2, -3).flatten(-2), o_proj)  # *B T D


def transformer_block(
    x: Float[Tensor, "*B T D"],
    weights: Mapping[str, Tensor],
    *,
    n_heads: int,
    norm_eps: float = 1e-5,
    positions: Int[Tensor, "*#B T"] | None = None,
    rope_theta: float = 10_000.0,
    rope_pairs: Literal["half", "interleaved"] = "half",
) -> Float[Tensor, "*B T D"]:
    """Llama's block: x + attention(norm(x)), then x + swiglu(norm(x)), with RMS norms.

    Args:
        x: The residual stream.
        weights: `attention_norm.weight`, `attention.q_proj.weight` and so for `k_proj`, `v_proj`,
            `o_proj` and, if the model has them, `q_norm` and `k_norm`; `ffn_norm.weight`,
            `ffn.gate_proj.weight` and so for `up_proj` and `down_proj`.
        n_heads: Query heads.
        norm_eps: Of every norm.
        positions: As in `multi_head_self_attention`.
        rope_theta: As in `rope`.
        rope_pairs: As in `rope`.
    """
    x = x + multi_head_self_attention(
        rms_norm(x, weights["attention_norm.weight"], norm_eps),
        *(weights[f"attention.{name}_proj.weight"] for name in "qkvo"),
        n_heads=n_heads,
        q_norm=weights.get("attention.q_norm.weight"),
        k_norm=weights.get("attention.k_norm.weight"),
        norm_eps=norm_eps,
        positions=positions,
        rope_theta=rope_theta,
        rope_pairs=rope_pairs,
    )
    ffn_weights = (weights[f"ffn.{name}_proj.weight"] for name in ("gate", "up", "down"))
    return x + swiglu(rms_norm(x, weights["ffn_norm.weight"], norm_eps), *ffn_weights)


def transformer(
    ids: Int[Tensor, "*B T"],
    weights: Mapping[str, Tensor],
    *,
    n_heads: int,
    norm_eps: float = 1e-5,
    rope_theta: float = 10_000.0,
    rope_pairs: Literal["half", "interleaved"] = "half",
) -> Float[Tensor, "*B T V"]:
    """Logits of each position's next token: a whole language model of Llama's or Qwen3's shape.

    Args:
        ids: Tokens; the first one stands at position 0.
        weights: `Transformer.state_dict()` of a dense model with `position: rope`, `norm: rmsnorm`
            and `ffn: swiglu`: `embed_tokens.weight`, for each layer N what `transformer_block`
            takes under `layers.N.`, `norm.weight` and, unless it is tied, `lm_head.weight`.
        n_heads: Query heads.
        norm_eps: Of every norm.
        rope_theta: As in `rope`.
        rope_pairs: As in `rope`.
    """
    positions = torch.arange(ids.shape[-1], device=ids.device)  # T
    x = embedding(ids, weights["embed_tokens.weight"])  # *B T D
    n_layers = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
    for layer in range(n_layers):
        names = [name for name in weights if name.startswith(f"layers.{layer}.")]
        x = transformer_block(
            x,
            {name.split(".", 2)[2]: weights[name] for name in names},
            n_heads=n_heads,
            norm_eps=norm_eps,
            positions=positions,
            rope_theta=rope_theta,
            rope_pairs=rope_pairs,
        )
    head = weights.get("lm_head.weight", weights["embed_tokens.weight"])
    return linear(rms_norm(x, weights["norm.weight"], norm_eps), head)  # *B T V
