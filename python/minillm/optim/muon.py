"""Muon: momentum whose update is made orthogonal, for the matrices inside a model.

A gradient's momentum has a few large singular values and many small ones; Muon sets all of them
near 1, so that rare directions learn as fast as common ones. Sources: Keller Jordan et al., "Muon:
An optimizer for hidden layers in neural networks" (2024), whose quintic Newton-Schulz iteration and
coefficients these are; Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982, section
2.2, for weight decay and for the scale 0.2 * sqrt(max(d_out, d_in)): an orthogonal M x N matrix has
a root mean square of 1 / sqrt(max(M, N)), AdamW's updates have one of about 0.2, and with both at
0.2 one learning rate and one weight decay serve both.

Directions of even length still leave some rows of the update, the neurons, longer than others.
NorMuon divides each row by a running mean of its size and then brings the whole matrix to 0.2
again: Li et al., "NorMuon: Making Muon more efficient and scalable", arXiv:2510.05491, algorithm 1.

Embeddings, the output head and vectors are no maps between hidden spaces; AdamW updates those, in
the same optimizer, so that a checkpoint and a schedule see one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from minillm.optim.adamw import adamw_step
from minillm.optim.base import Optimizer, Params
from minillm.optim.sharded import is_sharded, shard_like, whole

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Chosen for the steepest slope at 0: five steps bring singular values into about 0.7 to 1.2."""

ADAMW_RMS = 0.2
"""Root mean square of a typical AdamW update at learning rate 1."""


def orthogonalize(
    matrices: Float[Tensor, "*B M N"], *, steps: int = 5, dtype: torch.dtype = torch.bfloat16
) -> Float[Tensor, "*B M N"]:
    """Replaces the singular values of each matrix by numbers near 1; approximately U V^T.

    Each step applies the odd polynomial a s + b s^3 + c s^5 to every singular value s, through
    matrix products alone.

    Args:
        matrices: One matrix or a batch of them.
        steps: Newton-Schulz steps.
        dtype: Type of the products. bfloat16 is precise enough, and fast where there are units
            for it.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.reshape(-1, *matrices.shape[-2:]).to(dtype)  # batch M N
    x = x.mT if is_tall else x  # the smaller Gram matrix: less work
    # The Frobenius norm bounds the largest singular value, which must not exceed 1.
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        # Sums inside the product's kernel: written as a * x + p @ x, bfloat16 rounds twice as far.
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b gram + c gram^2
        x = torch.baddbmm(x, polynomial, x, beta=a)  # a x + polynomial x
    return (x.mT if is_tall else x).to(matrices.dtype).reshape(matrices.shape)


def muon_step(group: dict[str, Any], state: dict[Tensor, dict[str, Tensor]]) -> None:
    """Moves every matrix of a group that has a gradient.

    Matrices of one shape are orthogonalized together: a model has few shapes and many layers.

    Args:
        group: `params`, `lr`, `momentum`, `weight_decay`, and `row_decay`, which is 0 for Muon and
            for NorMuon the decay per step of the mean square of each row.
        state: Of each matrix its `momentum`, and for NorMuon `row_mean_square`; filled in at its
            first step.
    """
    lr, momentum, row_decay = group["lr"], group["momentum"], group["row_decay"]
    by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for parameter in group["params"]:
        if parameter.grad is not None:
            by_shape[parameter.shape].append((parameter, parameter.grad))
    for shape, pairs in by_shape.items():
        updates = []
        for parameter, gradient in pairs:
            if not state[parameter]:
                state[parameter]["momentum"] = torch.zeros_like(parameter)
                if row_decay:
                    state[parameter]["row_mean_square"] = torch.zeros_like(parameter[..., :1])
            mean = state[parameter]["momentum"].lerp_(gradient, 1 - momentum)
            updates.append(gradient.lerp(mean, momentum))  # Nesterov: one step ahead
        directions = _directions(updates)
        scale = ADAMW_RMS * math.sqrt(max(shape[-2:]))
        for (parameter, _), direction in zip(pairs, directions, strict=True):
            parameter.mul_(1 - lr * group["weight_decay"])
            if row_decay:
                mean_square = state[parameter]["row_mean_square"]
                direction = even_rows(direction, mean_square, decay=row_decay)  # noqa: PLW2901
            parameter.add_(direction, alpha=-lr * (ADAMW_RMS if row_decay else scale))


def _directions(updates: list[Tensor]) -> Iterable[Tensor]:
    """Orthogonalizes matrices of one shape together.

    Of matrices that are spread over processes, each process makes some whole, works on those, and
    sends the others what came of it: the same products as on one process, each done once.
    """
    # A CPU with bfloat16 units gains a quarter by them, one without loses far more.
    dtype = torch.float32 if updates[0].device.type == "cpu" else torch.bfloat16
    if not is_sharded(updates[0]):
        return orthogonalize(torch.stack(updates), dtype=dtype)  # layers M N
    mesh = cast("Any", updates[0]).device_mesh
    matrices = torch.stack([whole(update) for update in updates])  # layers M N
    for owner in range(mesh.size()):
        part = matrices[owner :: mesh.size()].contiguous()
        if not len(part):
            break
        if owner == mesh.get_local_rank():
            part = orthogonalize(part, dtype=dtype).contiguous()  # what a broadcast sends
        distributed.broadcast(part, group=mesh.get_group(), group_src=owner)
        matrices[owner :: mesh.size()] = part
    return [shard_like(matrix, updates[0]) for matrix in matrices]


def even_rows(
    direction: Float[Tensor, "*B M N"],
    mean_square: Float[Tensor, "*B M 1"],
    *,
    decay: float,
    eps: float = 1e-8,
) -> Float[Tensor, "*B M N"]:
    """Divides rows by a running size of theirs, and all by what makes the root mean square 1.

    `mean_square`, of each row over the steps so far, is brought up to date in place.
    """
    mean_square.lerp_(direction.square().mean(dim=-1, keepdim=True), 1 - decay)
    even = direction / (mean_square.sqrt() + eps)
    return even / even.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp(min=eps)


class Muon(Optimizer):
    """Muon, or with a `row_decay` NorMuon, for matrices and AdamW for the rest, by parameter group.

    A group says which by its `update`, "muon" (the default) or "adamw".
    """

    def __init__(
        self,
        params: Params,
        *,
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        row_decay: float = 0.0,
        fused: bool = False,
    ) -> None:
        """Takes parameters, or groups of them that may override each option.

        Raises:
            ValueError: If an option is out of range, or a group for muon holds a vector.
        """
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        options |= {"momentum": momentum, "row_decay": row_decay, "fused": fused}
        super().__init__(params, **options, update="muon")
        for group in self.param_groups:
            if group["update"] not in ("muon", "adamw"):
                raise ValueError(f"update is {group['update']!r}, expected muon or adamw")
            for parameter in group["params"]:
                if group["update"] == "muon" and parameter.ndim < 2:
                    raise ValueError(
                        f"muon updates matrices, got a parameter of shape {tuple(parameter.shape)}"
                    )

    def update(self, group: dict[str, Any]) -> None:
        """Moves the parameters of a group that have a gradient."""
        step = muon_step if group["update"] == "muon" else adamw_step
        step(group, self.state)
