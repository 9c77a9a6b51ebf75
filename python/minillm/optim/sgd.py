"""Stochastic gradient descent with momentum.

As in PyTorch, whose bits the tests want: momentum without dampening (Sutskever et al., 2013), and
weight decay as part of the gradient, so that it enters the momentum too. Without momentum that is
the same as decoupled decay.
"""

from typing import Any

import torch

from minillm.optim.base import Optimizer, Params


class SGD(Optimizer):
    """parameter -= lr * velocity, where velocity = momentum * velocity + gradient."""

    def __init__(
        self, params: Params, *, lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def update(self, group: dict[str, Any]) -> None:
        """Moves the parameters of a group that have a gradient."""
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
