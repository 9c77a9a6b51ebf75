"""Gradient clipping by global norm."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from minillm.optim.sharded import whole


@torch.no_grad()
def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> Float[Tensor, ""]:
    """Scales all gradients down together until their joint L2 norm is at most `max_norm`.

    The direction stays. Nothing waits for the device: the norm comes back as a tensor there.
    (Pascanu et al., arXiv:1211.5063, algorithm 1.)

    Args:
        params: Parameters; those without a gradient are passed over.
        max_norm: Largest norm; with infinity the gradients are measured and left alone.

    Returns:
        The norm before clipping; not finite if any gradient is not.
    """
    gradients = [p.grad for p in params if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = whole(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    if max_norm < float("inf"):
        # 1e-6 as in PyTorch, where it keeps a norm of 0 from dividing.
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
