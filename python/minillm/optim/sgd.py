"""Stochastic gradient descent with momentum.

As in PyTorch, whose bits the tests want: momentum without dampening (Sutskever et al., 2013), and
weight decay as part of the gradient, so that it enters the momentum too. Without momentum that is
the same as decoupled decay.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from minillm.optim.adamw import Optimizer, check_options, evaluate


class SGD(Optimizer):
    """parameter -= lr * velocity, where velocity = momentum * velocity + gradient."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        """Takes parameters, or groups of them that may override each option.

        Raises:
            ValueError: If an option is out of range.
        """
        check_options(lr=lr, momentum=momentum, weight_decay=weight_decay)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(  # type: ignore[override]  # PyTorch types it as two overloads of the same
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Moves every parameter that has a gradient."""
        loss = evaluate(closure)
        for group in self.param_groups:
            lr, momentum, weight_decay = group["lr"], group["momentum"], group["weight_decay"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                direction = parameter.grad.add(parameter, alpha=weight_decay)
                if momentum:
                    state = self.state[parameter]
                    if not state:
                        state["velocity"] = torch.zeros_like(parameter)
                    direction = state["velocity"].mul_(momentum).add_(direction)
                parameter.add_(direction, alpha=-lr)
        return loss
