"""Learning rate as a function of the step.

Plain functions of plain numbers: nothing to save, and a resumed run computes what the unbroken one
would have.
"""

import math
from typing import Any

import torch

from minillm.config import OptimConfig


def cosine_schedule(
    step: int, *, max_lr: float, min_lr: float, warmup_steps: int, total_steps: int
) -> float:
    """Linear warm-up from 0, then half a cosine down to `min_lr` (arXiv:1608.03983, equation 5).

    `max_lr` is reached at `warmup_steps`, `min_lr` at `total_steps` and kept from there on.
    """
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    if step >= total_steps:
        return min_lr
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * progress))


def wsd_schedule(
    step: int,
    *,
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    decay_steps: int,
    total_steps: int,
) -> float:
    """Warm-up, stable, decay: linear from 0, flat, linear down to `min_lr` (arXiv:2404.06395).

    The decay takes the last `decay_steps`. Unlike with the cosine, the flat part does not know the
    total, so a run can be prolonged from before its decay. In a run too short for both ramps, the
    lower one holds.
    """
    warm = max_lr * step / warmup_steps if step < warmup_steps else max_lr
    if step >= total_steps:
        return min_lr
    decay_start = total_steps - decay_steps
    if step <= decay_start:
        return warm
    progress = (step - decay_start) / decay_steps
    return min(warm, max_lr + (min_lr - max_lr) * progress)


def constant_schedule(step: int, *, max_lr: float, warmup_steps: int) -> float:
    """Linear warm-up from 0, then `max_lr` for ever."""
    return max_lr * step / warmup_steps if step < warmup_steps else max_lr


def scheduled_learning_rate(
    config: OptimConfig, step: int, total_steps: int, *, max_lr: float
) -> float:
    """Learning rate of step number `step`, the first being 1, as a configuration asks for it."""
    ramp: dict[str, Any] = {"max_lr": max_lr, "warmup_steps": config.warmup_steps}
    if config.schedule == "constant":
        return constant_schedule(step, **ramp)
    ramp |= {"min_lr": max_lr * config.min_learning_rate_ratio, "total_steps": total_steps}
    if config.schedule == "cosine":
        return cosine_schedule(step, **ramp)
    decay_steps = round(config.decay_fraction * total_steps)
    if config.schedule == "linear":  # all decay: from the top of the warm-up in a straight line
        decay_steps = max(total_steps - config.warmup_steps, 0)
    return wsd_schedule(step, decay_steps=decay_steps, **ramp)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: OptimConfig, step: int, total_steps: int
) -> None:
    """Gives each group the learning rate of the coming step.

    Args:
        optimizer: From `build_optimizer`; a group's `max_lr` is the height of its schedule.
        config: Names the schedule.
        step: Steps done so far. The coming one is numbered one higher: at 0, it would learn
            nothing.
        total_steps: Steps of the whole run.
    """
    for group in optimizer.param_groups:
        group["lr"] = scheduled_learning_rate(config, step + 1, total_steps, max_lr=group["max_lr"])
