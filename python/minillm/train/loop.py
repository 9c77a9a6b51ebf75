"""The training loop: steps, and what happens between them.

The order between two steps is what makes resuming exact. Validation and samples of step n are made
before update n + 1; a checkpoint is written last, after update n. So whoever resumes from
checkpoint n makes the validation and the samples of step n (again, if they were already there),
and nothing is left out or written twice, wherever the process was killed.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import profile

from minillm.checkpoint import model_tensors, optimizer_tensors, rng_tensors, save_checkpoint
from minillm.config import Config, dump_yaml
from minillm.model import IGNORED, Transformer, load_statistics, move_biases, reset_load
from minillm.optim import clip_grad_norm, set_learning_rate
from minillm.track.metrics import MetricsLog
from minillm.track.report import write_report
from minillm.train.data import Data
from minillm.train.device import autocast, usage
from minillm.train.evaluate import Evaluation, evaluate
from minillm.train.samples import append_samples, sample_text
from minillm.train.screen import Screen
from minillm.train.signals import StopRequest

REPORT_AGE_S = 20.0
"""Plots are drawn at saves, but no more often than this."""


@dataclass
class Run:
    """All that training reads and changes.

    Attributes:
        config: The resolved configuration.
        folder: Run folder.
        device: Where model and batches live.
        model: The model itself.
        forward: What a training step calls: the model, or its compiled form.
        optimizer: Holds the model's parameters.
        data: What it trains and validates on; without a tokenizer there are no samples.
        token_bytes: Bytes of each id's text; without it there are no bits per byte.
        metrics: Where the numbers go.
        profiler: Looks on, if it was asked for.
        step: Optimizer steps done.
        elapsed_s: Seconds spent in training steps, over all processes of this run.
        saved_step: Step of the newest checkpoint, -1 before the first.
        bad_steps: Steps so far whose loss or gradient was not finite, counted on the device.
    """

    config: Config
    folder: Path
    device: torch.device
    model: Transformer
    forward: Callable[..., Tensor]
    optimizer: torch.optim.Optimizer
    data: Data
    token_bytes: NDArray[np.integer] | None
    metrics: MetricsLog
    profiler: profile | None = None
    step: int = 0
    elapsed_s: float = 0.0
    saved_step: int = -1
    bad_steps: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))


def train_step(run: Run) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """One optimizer step; returns its mean cross-entropy and the gradient's norm before clipping.

    Both stay on the device: reading them would make the CPU wait for it at every step. Only where
    the CPU itself has them are they looked at before the update; elsewhere the caller does it.

    Raises:
        ValueError: On the CPU, if either is not finite; the weights are then as they were.
    """
    config = run.config
    micro_steps = config.train.gradient_accumulation_steps
    total_loss = torch.zeros((), device=run.device)
    reset_load(run.model)
    batches = [run.data.train.batch(run.step * micro_steps + i) for i in range(micro_steps)]
    counts = [int((batch.targets != IGNORED).sum()) for batch in batches]
    for batch, count in zip(batches, counts, strict=True):
        share = count / max(1, sum(counts))  # so that each target of the step counts alike
        ids, targets, documents = (None if x is None else _move(x, run.device) for x in batch)
        with autocast(run.device, config.train.dtype):
            loss = run.forward(ids, targets=targets, documents=documents)
        (loss * share).backward()
        total_loss += run.model.cross_entropy * share
    grad_norm = clip_grad_norm(run.model.parameters(), config.optim.grad_clip or float("inf"))
    run.bad_steps += ~torch.isfinite(total_loss + grad_norm)
    if run.device.type == "cpu":
        _check_finite(run, run.step + 1, total_loss, grad_norm)
    set_learning_rate(run.optimizer, config.optim, run.step, config.train.max_train_steps)
    run.optimizer.step()
    move_biases(run.model)
    run.optimizer.zero_grad(set_to_none=True)
    return total_loss, grad_norm


def train(run: Run, screen: Screen, stop: StopRequest) -> Evaluation | None:
    """Trains to the last step, or until `stop` is requested, and saves.

    Returns:
        The evaluation on all validation tokens; `None` if there are none or the run was stopped.

    Raises:
        ValueError: If loss or gradient stop being finite; nothing is saved from there on.
    """
    settings = run.config.train
    logged_at, logged_step = time.perf_counter(), run.step
    while run.step < settings.max_train_steps:
        paused_at = time.perf_counter()
        if _is_due(run.step, settings.eval_interval):
            validate(run, screen, stop, max_batches=settings.eval_batches)
        if run.step > 0 and _is_due(run.step, settings.generate_interval):
            write_samples(run, screen)
        logged_at += time.perf_counter() - paused_at  # speed is that of training alone
        if stop.requested:
            break

        started_at = time.perf_counter()
        loss, grad_norm = train_step(run)
        run.step += 1
        is_last = run.step == settings.max_train_steps
        is_logged = run.step == 1 or is_last or _is_due(run.step, settings.log_interval)
        is_saved = is_last or _is_due(run.step, settings.save_interval)
        if is_logged or is_saved:
            _check_finite(run, run.step, loss, grad_norm)
        run.elapsed_s += time.perf_counter() - started_at

        if run.profiler is not None:
            run.profiler.step()
        screen.advance(run.step, elapsed_s=run.elapsed_s)
        if is_logged:
            now = time.perf_counter()
            speed = (run.step - logged_step) * tokens_per_step(run) / (now - logged_at)
            _log(run, loss.item(), grad_norm.item(), speed)
            logged_at, logged_step = now, run.step
        if is_saved:
            paused_at = time.perf_counter()
            save(run)
            logged_at += time.perf_counter() - paused_at
    return _finish(run, screen, stop)


def _finish(run: Run, screen: Screen, stop: StopRequest) -> Evaluation | None:
    if run.step < run.config.train.max_train_steps:
        if run.saved_step != run.step:
            save(run)
        write_report(run.folder, max_age_s=0)
        return None
    evaluation = validate(run, screen, stop, max_batches=None)
    if run.config.train.generate_interval and not stop.requested:
        write_samples(run, screen)
    write_report(run.folder, max_age_s=0)
    return evaluation


def validate(
    run: Run, screen: Screen, stop: StopRequest, *, max_batches: int | None
) -> Evaluation | None:
    """Evaluates and writes the result down; `None` if stopped or without validation tokens."""
    evaluation = evaluation_of(run, stop, max_batches=max_batches)
    if evaluation is not None:
        run.metrics.write(
            {
                "step": run.step,
                "val_loss": evaluation.loss,
                "val_bits_per_byte": evaluation.bits_per_byte,
                "val_tokens": evaluation.tokens,
                "final": max_batches is None,
            }
        )
        screen.say(f"step {run.step}  {evaluation}")
    return evaluation


def evaluation_of(run: Run, stop: StopRequest, *, max_batches: int | None) -> Evaluation | None:
    """How well the run's present weights predict its validation tokens."""
    if run.data.val is None:
        return None
    return evaluate(
        run.model,
        run.data.val(max_batches=max_batches),
        token_bytes=run.token_bytes,
        autocast=autocast(run.device, run.config.train.dtype),
        is_stopped=lambda: stop.requested,
    )


def write_samples(run: Run, screen: Screen) -> None:
    """Samples text into `samples.txt` and onto the screen; needs a tokenizer."""
    config, data = run.config, run.data
    if data.tokenizer is None or not config.sample.prompts:
        return
    texts = sample_text(
        run.model, data.tokenizer, config.sample, seed=config.train.seed, template=data.template
    )
    append_samples(run.folder, run.step, texts)
    for text in texts:
        screen.show_sample(run.step, text)


def save(run: Run) -> None:
    """Writes a checkpoint of the current step and brings the plots up to date.

    Raises:
        OSError: If it could not be written; the one before it is still there.
    """
    config_yaml = dump_yaml(run.config)
    samples = run.step * run.config.train.gradient_accumulation_steps * run.data.train.batch_size
    epoch, sample = divmod(samples, run.data.train.windows)
    tensors = {
        "model": model_tensors(run.model),
        "optimizer": optimizer_tensors(run.model, run.optimizer),
        "rng": rng_tensors(run.device),
    }
    state = {
        "step": run.step,
        "tokens": run.step * tokens_per_step(run),
        "epoch": epoch,
        "sample": sample,
        "elapsed_s": run.elapsed_s,
    }
    try:
        save_checkpoint(
            run.folder,
            step=run.step,
            tensors=tensors,
            state=state,
            config_yaml=config_yaml,
            hashes={**run.data.hashes, "config": hashlib.sha256(config_yaml.encode()).hexdigest()},
            keep=run.config.train.keep_checkpoints,
        )
    except OSError as error:
        error.add_note(f"{newest_checkpoint(run)}; make room and go on from there with --resume")
        raise
    run.saved_step = run.step
    write_report(run.folder, max_age_s=REPORT_AGE_S)


def newest_checkpoint(run: Run) -> str:
    """Which checkpoint there is to go back to, in words."""
    return (
        f"the newest checkpoint is step {run.saved_step}"
        if run.saved_step >= 0
        else "there is no checkpoint yet"
    )


def tokens_per_step(run: Run) -> int:
    """Tokens that one optimizer step trains on."""
    settings = run.config.train
    return settings.batch_size * settings.seq_len * settings.gradient_accumulation_steps


def _log(run: Run, loss: float, grad_norm: float, speed: float) -> None:
    run.metrics.write(
        {
            "step": run.step,
            "loss": loss,
            "learning_rate": run.optimizer.param_groups[0]["lr"],
            "grad_norm": grad_norm,
            "tokens": run.step * tokens_per_step(run),
            **load_statistics(run.model),
            "tokens_per_s": round(speed, 1),
            **usage(run.device, run.config, tokens_per_s=speed),
            "elapsed_s": round(run.elapsed_s, 3),
        }
    )


def _check_finite(run: Run, step: int, loss: Tensor, grad_norm: Tensor) -> None:
    """Stops a run of which any step up to `step`, with these numbers, was not finite."""
    if not run.bad_steps.item():
        return
    raise ValueError(
        f"loss or gradient stopped being finite by step {step}: loss {loss.item():g},"
        f" gradient norm {grad_norm.item():g}; nothing of it is saved, {newest_checkpoint(run)}"
        "\nhint: try a lower optim.learning_rate, more optim.warmup_steps, or float32"
    )


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


def _move(ids: Tensor, device: torch.device) -> Tensor:
    """To the device, on CUDA without waiting for the copy."""
    if device.type == "cuda":
        return ids.pin_memory().to(device, non_blocking=True)
    return ids.to(device)
