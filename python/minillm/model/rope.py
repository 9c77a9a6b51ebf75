"""Rotary position embedding (RoPE).

Turns each pair of query or key channels by an angle that grows with the token's position, so that
a dot product of two heads depends on how far apart the tokens are and not on where they stand.

Source: Su et al., "RoFormer", arXiv:2104.09864, section 3.2.2. Pair i turns by theta^(-2 i / d)
radians per position, d being the channels that turn: all of a head, or its first ones (partial
rotation, as in GPT-NeoX, arXiv:2204.06745, section 2.1), the rest having no sense of place. The
paper pairs channels 2i and 2i + 1 (`interleaved`), Llama's checkpoints i and i + d/2 (`half`):
the same model with its rows in another order, see `permute_pairs`.

`rope_scaling.py` says how frequencies change to reach beyond the context of the training.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Pairs = Literal["half", "interleaved"]


class Rotation(NamedTuple):
    """What each channel is multiplied by, at each position: itself by `cos`, its partner by `sin`.

    Computed once per forward pass and shared by all layers. Kept as no buffer: a few thousand
    cosines cost less than the care that a buffer needs (meta device, dtype casts, checkpoints).
    """

    cos: Float[Tensor, "*B T R"]
    sin: Float[Tensor, "*B T R"]
    pairs: Pairs


def rope_frequencies(
    d_rope: int, *, theta: float, device: torch.device | str = "cpu"
) -> Float[Tensor, " half"]:
    """Radians per position of each channel pair, from 1 downwards.

    Args:
        d_rope: Channels per head that turn. Must be even.
        theta: Base of the wavelengths; larger reaches further back.
        device: Where the result goes.

    Raises:
        ValueError: If `d_rope` is odd.
    """
    if d_rope % 2:
        raise ValueError(f"d_rope ({d_rope}) must be even: RoPE turns channels in pairs")
    exponent = torch.arange(0, d_rope, 2, device=device, dtype=torch.float32) / d_rope
    return theta**-exponent


def rope_rotation(
    positions: Int[Tensor, "*B T"],
    frequencies: Float[Tensor, " half"],
    *,
    pairs: Pairs = "half",
    magnitude: float = 1.0,
    dtype: torch.dtype,
) -> Rotation:
    """Cosine and sine of each position's angles, position times frequency.

    Args:
        positions: 0-based position of each token in its own document.
        frequencies: Radians per position of each pair. The angles are float32 whatever the model's
            dtype: in bfloat16, positions above 256 would already collide.
        pairs: Which channels turn together.
        magnitude: Lengthens queries and keys by this factor, see `rope_scaling.py`.
        dtype: Of the heads that will turn.
    """
    angles = positions[..., None].float() * frequencies  # *B T half
    cos = (angles.cos() * magnitude).to(dtype)
    sin = (angles.sin() * magnitude).to(dtype)
    if pairs == "half":
        return Rotation(torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1), pairs)  # *B T R
    sin = torch.stack((-sin, sin), dim=-1).flatten(-2)  # *B T R
    return Rotation(cos.repeat_interleave(2, dim=-1), sin, pairs)


def rotate(x: Float[Tensor, "*B T H K"], rotation: Rotation) -> Float[Tensor, "*B T H K"]:
    """Turns each head's channel pairs by the angle of its position.

    (a, b) becomes (a cos - b sin, b cos + a sin). For `half`, rolling the channels by half of them
    brings each one's partner to its place; on a CPU that takes a third of the time of cutting and
    joining halves.
    """
    d_rope = rotation.cos.shape[-1]
    cos = rotation.cos.to(x.dtype)[..., None, :]  # *B T 1 R
    sin = rotation.sin.to(x.dtype)[..., None, :]  # *B T 1 R
    turning = x[..., :d_rope]  # *B T H R
    if rotation.pairs == "half":
        partner = turning.roll(d_rope // 2, dims=-1)
    else:
        partner = turning.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    turned = torch.addcmul(turning * cos, partner, sin)
    return turned if d_rope == x.shape[-1] else torch.cat((turned, x[..., d_rope:]), dim=-1)


def permute_pairs(
    rows: Float[Tensor, "O *I"], *, to: Pairs, d_head: int, d_rope: int, start: int = 0
) -> Float[Tensor, "O *I"]:
    """Reorders what makes queries or keys, so that the other pairing gives the same scores.

    Both queries and keys must be permuted; scores then add up the same products in another order.

    Args:
        rows: Weight or bias of q_proj or k_proj, or scale of q_norm or k_norm.
        to: The pairing to come; `rows` are in the order of the other.
        d_head: Channels per head.
        d_rope: Channels per head that turn.
        start: The first of them; `d_head_nope` for queries of latent attention.
    """
    shape = (2, -1) if to == "interleaved" else (-1, 2)
    order = torch.arange(d_head)
    turning = order[start : start + d_rope]
    order[start : start + d_rope] = turning.unflatten(0, shape).T.flatten()
    return rows.unflatten(0, (-1, d_head))[:, order].flatten(0, 1)
