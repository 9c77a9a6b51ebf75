"""AdamW: Adam with weight decay beside the gradient instead of inside it.

Source: Loshchilov and Hutter, arXiv:1711.05101, algorithm 2, with the learning rate as the only
schedule, so that decay is lr * weight_decay per step, as in PyTorch. The order of operations is
PyTorch's too: the tests want the same bits.

The textbook (`docs/textbook/optim.py`) has the rule for one tensor. `adamw_step` is the same rule
for a list of them through `torch._foreach_*`: a GPU then runs a dozen kernels and not a dozen per
tensor; on a CPU both take the same time. PyTorch's fused kernel (`fused`) reads everything once,
but rounds differently; on two CPU cores there is little to gain (7M parameters: 60 ms of a step of
seconds).
"""

from typing import Any

import torch
from torch import Tensor

from minillm.optim.base import Optimizer, Params


def adamw_step(group: dict[str, Any], state: dict[Tensor, dict[str, Tensor]]) -> None:
    """`adamw_update` of the textbook for every parameter of a group that has a gradient.

    Args:
        group: `params`, `lr`, `betas`, `eps`, `weight_decay` and `fused`.
        state: Of each parameter `step`, `mean` and `mean_square`; filled in at its first step.
    """
    parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
    if not parameters:
        return
    for parameter in parameters:
        if not state[parameter]:
            state[parameter]["step"] = torch.tensor(0.0)
            state[parameter]["mean"] = torch.zeros_like(parameter)
            state[parameter]["mean_square"] = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    steps, means, mean_squares = (
        [state[p][name] for p in parameters] for name in ("step", "mean", "mean_square")
    )
    lr, (beta1, beta2) = group["lr"], group["betas"]

    torch._foreach_add_(steps, 1)
    if group["fused"]:
        # It wants its counts where the parameters are, and takes them as already counted up.
        on_device = [step.to(parameters[0].device) for step in steps]
        options = {"beta1": beta1, "beta2": beta2, "eps": group["eps"], "lr": lr}
        torch._fused_adamw_(
            parameters,
            gradients,
            means,
            mean_squares,
            [],
            on_device,
            weight_decay=group["weight_decay"],
            amsgrad=False,
            maximize=False,
            **options,
        )
        return
    counts = [step.item() for step in steps]
    torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(mean_squares, beta2)
    torch._foreach_addcmul_(mean_squares, gradients, gradients, 1 - beta2)
    roots = torch._foreach_sqrt(mean_squares)
    torch._foreach_div_(roots, [(1 - beta2**count) ** 0.5 for count in counts])
    torch._foreach_add_(roots, group["eps"])
    step_sizes = [-lr / (1 - beta1**count) for count in counts]
    torch._foreach_addcdiv_(parameters, means, roots, step_sizes)


class AdamW(Optimizer):
    """AdamW with decoupled weight decay, equal to `torch.optim.AdamW` bit for bit on the CPU."""

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        fused: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, **options, fused=fused)

    def update(self, group: dict[str, Any]) -> None:
        """Moves the parameters of a group that have a gradient."""
        adamw_step(group, self.state)
