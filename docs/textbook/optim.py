"""AdamW and gradient clipping, one parameter at a time, each formula as it is printed.

`adamw.py` and `clip.py` of `minillm.optim` do the same for lists of tensors at once. A schedule
needs no twin: `schedule.py` is plain numbers already.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from minillm.optim.base import Optimizer


def adamw_update(
    parameter: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    mean: Float[Tensor, "*shape"],
    mean_square: Float[Tensor, "*shape"],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Moves one parameter by one step, in place, and its two running means with it.

    Args:
        parameter: What to train.
        gradient: Slope of the loss there.
        mean: Running mean of the gradient; 0 at first.
        mean_square: Running mean of its square; 0 at first.
        step: Number of this step; the first one is 1.
        lr: Learning rate of this step.
        betas: What the two means keep per step.
        eps: Keeps the step finite where the gradient was always 0.
        weight_decay: Share of the parameter that a step takes away, in units of lr.
    """
    beta1, beta2 = betas
    parameter.mul_(1 - lr * weight_decay)
    mean.lerp_(gradient, 1 - beta1)  # beta1 * mean + (1 - beta1) * gradient
    mean_square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    # Both means started at 0; these undo the pull towards it.
    step_size = lr / (1 - beta1**step)
    root = mean_square.sqrt().div_((1 - beta2**step) ** 0.5).add_(eps)
    parameter.addcdiv_(mean, root, value=-step_size)


class AdamW(Optimizer):
    """AdamW, parameter by parameter (Loshchilov and Hutter, arXiv:1711.05101, algorithm 2).

    Equal to `minillm.optim.AdamW` and to `torch.optim.AdamW` bit for bit on the CPU.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        """Takes parameters, or groups of them that may override each option.

        Raises:
            ValueError: If an option is out of range.
        """
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, group: dict[str, Any]) -> None:
        """Moves every parameter of a group that has a gradient."""
        options = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state["mean"] = torch.zeros_like(parameter)
                state["mean_square"] = torch.zeros_like(parameter)
            state["step"] += 1
            adamw_update(parameter, parameter.grad, **state, **options)


@torch.no_grad()
def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scales all gradients by max_norm / norm if their joint L2 norm is larger (arXiv:1211.5063).

    Returns:
        The norm before clipping.
    """
    gradients = [parameter.grad for parameter in params if parameter.grad is not None]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / (norm + 1e-6))
    return norm
