"""Rotary position embedding (RoPE).

Turns each pair of query or key channels by an angle that grows with the token's position, so that
a dot product of two heads depends on how far apart the tokens are and not on where they stand.

Source: Su et al., "RoFormer", arXiv:2104.09864, section 3.2.2. Channel i is paired with channel
i + K/2, as Llama checkpoints store it, not with i + 1 as in the paper.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Rotation(NamedTuple):
    """What each channel is multiplied by, at each position: itself by `cos`, its partner by `sin`.

    Computed once per forward pass and shared by all layers. Kept as no buffer: a few thousand
    cosines cost less than the care that a buffer needs (meta device, dtype casts, checkpoints).
    """

    cos: Float[Tensor, "*B T K"]
    sin: Float[Tensor, "*B T K"]


def rope_angles(
    positions: Int[Tensor, "*B T"], d_head: int, *, theta: float = 10_000.0
) -> Float[Tensor, "*B T half"]:
    """Rotation angle of each channel pair at each position.

    Args:
        positions: 0-based position of each token in its own document.
        d_head: Channels per head, K. Must be even.
        theta: Base of the wavelengths; larger reaches further back.

    Returns:
        Angles in radians, float32 whatever the model's dtype: in bfloat16, positions above 256
        would already collide.

    Raises:
        ValueError: If `d_head` is odd.
    """
    if d_head % 2:
        raise ValueError(f"d_head ({d_head}) must be even: RoPE turns channels in pairs")
    exponent = torch.arange(0, d_head, 2, device=positions.device, dtype=torch.float32) / d_head
    return positions[..., None].float() * theta**-exponent


def rope_rotation(
    positions: Int[Tensor, "*B T"], d_head: int, *, theta: float, dtype: torch.dtype
) -> Rotation:
    """Cosines and sines of `rope_angles`, in the dtype of the heads that they will turn."""
    angles = rope_angles(positions, d_head, theta=theta)  # *B T half
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)  # *B T half
    return Rotation(torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))  # *B T K


def rotate(x: Float[Tensor, "*B T H K"], rotation: Rotation) -> Float[Tensor, "*B T H K"]:
    """Turns each head's channel pairs (i, i + K/2) by the angle of its position.

    (a, b) becomes (a cos - b sin, b cos + a sin). Rolling the channels by K/2 brings each one's
    partner to its place; on a CPU that takes a third of the time of cutting and joining halves.
    """
    cos = rotation.cos.to(x.dtype)[..., None, :]  # *B T 1 K
    sin = rotation.sin.to(x.dtype)[..., None, :]  # *B T 1 K
    partner = x.roll(x.shape[-1] // 2, dims=-1)
    return torch.addcmul(x * cos, partner, sin)
