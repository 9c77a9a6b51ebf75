"""The training loop: steps, and what happens between them.

The order between two steps is what makes resuming exact. Validation and samples of step n are made
before update n + 1; a checkpoint is written last, after update n. So whoever resumes from
checkpoint n makes the validation and the samples of step n (again, if they were already there),
and nothing is left out or written twice, wherever the process was killed.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import profile

from minillm.config import Config
from minillm.model import Transformer, load_statistics
from minillm.track.metrics import MetricsLog, Record
from minillm.track.report import write_report
from minillm.train.data import Data
from minillm.train.device import autocast, usage
from minillm.train.evaluate import Evaluation, evaluate
from minillm.train.health import (
    check_finite,
    is_due,
    rewind,
    spike,
    update_statistics,
    weights_of,
)
from minillm.train.samples import append_samples, sample_text
from minillm.train.saving import NonFiniteError, Writer, rotate, save
from minillm.train.screen import Screen
from minillm.train.signals import StopRequest
from minillm.train.step import dry_run, train_step
from minillm.train.world import ALONE, World, whole_model


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
        skipped_steps: How many steps' batches were left out, in rewinding.
        rewinds: How often this run has gone back to a checkpoint.
        bad_steps: Steps whose loss or gradient was not finite, counted on the device.
        losses: Of the logged steps so far, for the statistic of spikes.
        writer: Writes checkpoints in the background.
        world: The processes that train it.
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
    skipped_steps: int = 0
    rewinds: int = 0
    bad_steps: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    losses: list[float] = field(default_factory=list)
    writer: Writer = field(default_factory=Writer)
    world: World = ALONE

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step trains on."""
        settings = self.config.train
        return settings.batch_size * settings.seq_len * settings.gradient_accumulation_steps


def train(run: Run, screen: Screen, stop: StopRequest) -> Evaluation | None:
    """Trains to the last step, or until `stop` is requested, and saves.

    Returns:
        The evaluation on all validation tokens; `None` if there are none or the run was stopped.

    Raises:
        ValueError: If a batch does not fit into memory, or loss or gradient stop being finite and
            the run is not to go back; nothing is saved from there on.
        OSError: If a checkpoint cannot be written.
    """
    if run.step < run.config.train.max_train_steps:
        with _breaking_off(run, stop):
            if change := dry_run(run):
                screen.say(change)
    settings = run.config.train
    logged_at, logged_step = time.perf_counter(), run.step
    while run.step < settings.max_train_steps:
        paused_at = time.perf_counter()
        if is_due(run.step, settings.eval_interval):
            validate(run, screen, stop, max_batches=settings.eval_batches)
        if run.step > 0 and is_due(run.step, settings.generate_interval):
            with _breaking_off(run, stop):
                write_samples(run, screen)
        logged_at += time.perf_counter() - paused_at  # speed is that of training alone
        if _is_stopped(run, stop):
            break

        run.writer.check()
        started_at = time.perf_counter()
        number = run.step + 1
        is_last = number == settings.max_train_steps
        is_logged = number == 1 or is_last or is_due(number, settings.log_interval)
        is_saved = is_last or is_due(number, settings.save_interval)
        before = weights_of(run) if is_logged and is_due(number, settings.health_interval) else []
        try:
            loss, grad_norm = train_step(run)
            if is_logged or is_saved or is_due(number, settings.eval_interval):
                check_finite(run, loss, grad_norm)
            run.step = number
            run.elapsed_s += time.perf_counter() - started_at

            if run.profiler is not None:
                run.profiler.step()
            screen.advance(run.step, elapsed_s=run.elapsed_s)
            if is_logged:
                now = time.perf_counter()
                speed = (run.step - logged_step) * run.tokens_per_step / (now - logged_at)
                health = {"loss": loss.item(), "grad_norm": grad_norm.item()}
                health |= update_statistics(run, before) if before else {}
                _log(run, health, tokens_per_s=speed)
                logged_at, logged_step = now, run.step
            if is_saved:
                paused_at = time.perf_counter()
                save(run)
                logged_at += time.perf_counter() - paused_at
        except NonFiniteError as error:
            rewind(run, error, batches_seen=number + run.skipped_steps)
            screen.say(
                f"step {number} was not finite: back to step {run.step}, on behind its batch"
            )
            logged_at, logged_step = time.perf_counter(), run.step
    return _finish(run, screen, stop)


def _finish(run: Run, screen: Screen, stop: StopRequest) -> Evaluation | None:
    run.writer.wait()
    if run.step < run.config.train.max_train_steps:
        if run.saved_step != run.step:
            save(run)
            run.writer.wait()
        report(run)
        return None
    # The evaluation last: by its line in the metrics a run is known to be complete.
    if run.config.train.generate_interval and not _is_stopped(run, stop):
        write_samples(run, screen)
    settings = run.config.train
    if settings.eval_interval:  # on the same tokens as those before
        validate(run, screen, stop, max_batches=settings.eval_batches)
    evaluation = validate(run, screen, stop, max_batches=None)
    report(run)
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
        is_stopped=lambda: _is_stopped(run, stop),
        world=run.world,
    )


def write_samples(run: Run, screen: Screen) -> None:
    """Samples text into `samples.txt` and onto the screen; needs a tokenizer."""
    config, data = run.config, run.data
    if data.tokenizer is None or not config.sample.prompts:
        return
    model = whole_model(run.model)
    if not run.world.is_first:
        return
    texts = sample_text(
        model, data.tokenizer, config.sample, seed=config.train.seed, template=data.template
    )
    append_samples(run.folder, run.step, texts)
    for text in texts:
        screen.show_sample(run.step, text)


def _is_stopped(run: Run, stop: StopRequest) -> bool:
    """Whether a signal has reached one of the processes: all stop at the same place."""
    is_agreed = run.world.any(stop.requested)
    if is_agreed:  # else it stays what it is: a signal may have come meanwhile
        stop.requested = True
    return is_agreed


def _breaking_off(run: Run, stop: StopRequest) -> AbstractContextManager[None]:
    """Lets a signal end a block, but where others would wait for this process within it."""
    return stop.breaking_off() if run.world.size == 1 else nullcontext()


def report(run: Run) -> None:
    """Brings up to date what one reads after a run, and which checkpoints stay."""
    if run.world.is_first:
        rotate(run)
        write_report(run.folder, max_age_s=0)


def _log(run: Run, health: Record, *, tokens_per_s: float) -> None:
    """Writes down a step; `health` has its loss and the norm of its gradient."""
    run.losses.append(health["loss"])
    run.metrics.write(
        {
            "step": run.step,
            **health,
            "learning_rate": run.optimizer.param_groups[0]["lr"],
            "loss_spike": round(spike(run.losses), 3),
            **load_statistics(run.model),
            "tokens": run.step * run.tokens_per_step,
            "tokens_per_s": round(tokens_per_s, 1),
            **usage(run.device, run.config, tokens_per_s=tokens_per_s / run.world.size),
            "elapsed_s": round(run.elapsed_s, 3),
        }
    )
