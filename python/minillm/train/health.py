"""Is a run well: numbers that stopped being finite, spikes of the loss, how far updates reach."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minillm.checkpoint import list_checkpoints, load_checkpoint, verify_checkpoint
from minillm.optim.sharded import whole
from minillm.track.metrics import Record, read_metrics
from minillm.train.samples import cut_back_samples
from minillm.train.saving import NonFiniteError, newest_checkpoint, restore

if TYPE_CHECKING:
    from minillm.train.loop import Run

SPIKE_WINDOW = 50
"""Logged losses that a new one is held against."""


def check_finite(run: "Run", loss: Tensor, grad_norm: Tensor) -> None:
    """Looks at the device's count of bad steps, which waits for it.

    Raises:
        NonFiniteError: If any step since the last look was not finite.
    """
    if not run.bad_steps.item():
        return
    run.writer.wait()
    raise NonFiniteError(
        f"loss or gradient stopped being finite by step {run.step + 1}: loss {loss.item():g},"
        f" gradient norm {grad_norm.item():g}; nothing of it is saved, {newest_checkpoint(run)}"
        "\nhint: try a lower optim.learning_rate, more optim.warmup_steps, or float32; or let the"
        " run go back and on behind such batches by --train.on-nonfinite rewind"
    )


def rewind(run: "Run", error: NonFiniteError, *, batches_seen: int) -> None:
    """Takes a run back to its newest checkpoint, from where it goes on behind `batches_seen` steps.

    A checkpoint between intervals, which a stop has left, is passed over: a run that was stopped
    goes back to where an unbroken one would.

    Raises:
        NonFiniteError: `error`, if the run is not to rewind, has done so `max_rewinds` times, or
            has no checkpoint yet.
    """
    settings = run.config.train
    run.world.barrier()
    if settings.on_nonfinite == "stop" or run.saved_step < 0 or run.rewinds == settings.max_rewinds:
        raise error
    rewinds = run.rewinds + 1
    paths = list_checkpoints(run.folder)
    regular = [path for path in paths if is_due(load_checkpoint(path).step, settings.save_interval)]
    restore(run, verify_checkpoint((regular or paths)[-1]))
    run.rewinds, run.skipped_steps = rewinds, batches_seen - run.step
    run.optimizer.zero_grad(set_to_none=True)
    run.bad_steps.zero_()
    run.metrics.cut_back(run.step)
    if run.world.is_first:
        cut_back_samples(run.folder, run.step)
    run.losses = logged_losses(run)
    run.metrics.write({"step": run.step, "rewinds": rewinds, "skipped_steps": run.skipped_steps})


def logged_losses(run: "Run") -> list[float]:
    """The losses that a run has logged up to its present step."""
    records = [record for record in read_metrics(run.folder) if "loss" in record]
    return [record["loss"] for record in records if record["step"] <= run.step]


def is_due(step: int, interval: int) -> bool:
    """Whether what happens every `interval` steps happens after this one; 0 is never."""
    return interval > 0 and step % interval == 0


def spike(losses: Sequence[float]) -> float:
    """How many standard deviations the last loss lies above the mean of those before it."""
    *before, last = losses[-SPIKE_WINDOW - 1 :]
    if len(before) < 2:
        return 0.0
    mean = math.fsum(before) / len(before)
    deviation = math.sqrt(math.fsum((loss - mean) ** 2 for loss in before) / (len(before) - 1))
    return (last - mean) / max(deviation, 1e-12)


def weights_of(run: "Run") -> list[Tensor]:
    """A copy of all that learns, by which `update_statistics` tells how far a step moved it."""
    return [p.detach().clone() for group in run.optimizer.param_groups for p in group["params"]]


@torch.no_grad()
def update_statistics(run: "Run", before: Sequence[Tensor]) -> Record:
    """Of each role: length of the weights, of the last update over it, and the learning rate."""
    statistics, at = {}, iter(before)
    for group in run.optimizer.param_groups:
        pairs = [(parameter, next(at)) for parameter in group["params"]]
        length = math.hypot(*(whole(old.norm()).item() for _, old in pairs))
        moved = math.hypot(*(whole((new - old).norm()).item() for new, old in pairs))
        statistics[group["role"]] = {
            "learning_rate": group["lr"],
            "weight_norm": length,
            "update_ratio": moved / max(length, 1e-12),
        }
    return {"updates": statistics}
