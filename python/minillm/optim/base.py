"""What all optimizers share: options within their range, and a step that goes over the groups."""

from collections.abc import Callable, Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

Params = Iterable[Tensor] | Iterable[dict[str, Any]]
"""Parameters, or groups of them that may override each option."""


class Optimizer(torch.optim.Optimizer):
    """PyTorch's, but that it does not import its compiler: that takes seconds of each start.

    A subclass names its options and says in `update` what becomes of a group.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)

    def __init__(self, params: Params, **options: Any) -> None:  # noqa: ANN401  of any kind
        """Takes parameters, and options of those names.

        Raises:
            ValueError: If an option is out of range.
        """
        for name in ("lr", "eps", "weight_decay"):
            if not options.get(name, 0) >= 0:
                raise ValueError(f"{name} ({options[name]}) must be at least 0")
        shares = {name: options.get(name, 0) for name in ("momentum", "row_decay")}
        shares |= {f"betas[{i}]": beta for i, beta in enumerate(options.get("betas", ()))}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} ({share}) must be at least 0 and less than 1")
        super().__init__(params, options)

    @torch.no_grad()
    def step(  # type: ignore[override]  # PyTorch types it as two overloads of the same
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Moves every parameter that has a gradient; a closure computes the loss anew before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.update(group)
        return loss

    def update(self, group: dict[str, Any]) -> None:
        """Moves the parameters of a group that have a gradient."""
        raise NotImplementedError
