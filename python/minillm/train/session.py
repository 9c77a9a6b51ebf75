"""One process's share of a run: from a configuration to a result.

A run may take many processes, each killed or stopped, each going on where the one before had
saved. This is what each of them does, in order.
"""

import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from torch import Tensor

from minillm.checkpoint import CheckpointError, list_checkpoints
from minillm.config import Config, TrackConfig
from minillm.files import remove_asides
from minillm.tokenizer import TextEncoder
from minillm.track.lock import RunLock
from minillm.track.metrics import read_metrics
from minillm.track.trackers import open_trackers
from minillm.train.evaluate import Evaluation
from minillm.train.loop import Run, evaluation_of, report, train
from minillm.train.profile import profiled
from minillm.train.screen import Screen, say
from minillm.train.setup import build_run, write_folder
from minillm.train.signals import StopRequest
from minillm.train.world import ALONE, World


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        folder: Run folder.
        steps: Optimizer steps done.
        val_loss: Loss on all validation tokens, in nats per token; `None` without them.
        val_bits_per_byte: The same in bits per byte of text; `None` without a tokenizer.
        is_complete: False if the run was stopped; it is saved then and can be resumed.
    """

    folder: Path
    steps: int
    val_loss: float | None
    val_bits_per_byte: float | None
    is_complete: bool


def has_run(folder: Path) -> bool:
    """Whether a run was begun in `folder`."""
    return (folder / "config.yaml").exists()


def train_run(
    config: Config,
    *,
    resume: bool,
    console: Console,
    tokenizer: TextEncoder | None = None,
    weights: Mapping[str, Tensor] | None = None,
    as_json: bool = False,
    world: World = ALONE,
) -> RunResult:
    """Trains the run of `config` from its start or its newest checkpoint; see `pretrain.run`."""
    config.train.out_dir.mkdir(parents=True, exist_ok=True)
    with RunLock(config.train.out_dir) if world.is_first else nullcontext():
        if world.is_first:
            remove_asides(config.train.out_dir)
        run = build_run(
            config,
            resume=resume,
            say=partial(say, console),
            tokenizer=tokenizer,
            weights=weights,
            world=world,
        )
        earlier = _final_evaluation(run)
        if earlier is not None:
            report(run)  # which a kill may have prevented
            say(console, f"`{run.folder}` is complete: {run.step} steps, {earlier}")
            say(console, "train it further with --resume --max-train-steps N")
            return _result(run, earlier, is_complete=True)
        if not world.is_first:
            run.config = run.config.model_copy(update={"track": TrackConfig()})
            return _train(run, console, as_json=False)
        with open_trackers(config, run.folder) as send:
            run.metrics.sinks.append(send)
            write_folder(run)
            return _train(run, console, as_json=as_json)


def _train(run: Run, console: Console, *, as_json: bool) -> RunResult:
    def hear() -> None:
        say(console, "stopping after this step; Ctrl-C again leaves at once")

    total_steps = run.config.train.max_train_steps
    with (
        StopRequest(hear) as stop,
        Screen(console, total_steps=total_steps, first_step=run.step, as_json=as_json) as screen,
        profiled(run.folder, run.config.track.profile, run.device, screen.say) as run.profiler,
    ):
        run.metrics.sinks.append(screen.show)
        evaluation = train(run, screen, stop)
    if stop.requested:
        verb = "pretrain" if run.data.template is None else "sft"
        command = f"minillm {verb} --out-dir {shlex.quote(str(run.folder))} --resume"
        say(console, f"saved at step {run.step}; to go on: {command}")
    else:
        say(console, f"done: {run.step} steps, everything is in `{run.folder}`")
    return _result(run, evaluation, is_complete=not stop.requested)


def evaluate_run(
    config: Config,
    *,
    console: Console,
    tokenizer: TextEncoder | None = None,
    world: World = ALONE,
) -> RunResult:
    """Evaluates the newest checkpoint on all validation tokens; writes nothing.

    Raises:
        ValueError: If there is no checkpoint or nothing to validate on.
    """
    if not list_checkpoints(config.train.out_dir):
        raise CheckpointError(f"`{config.train.out_dir}` holds no checkpoint yet")
    told = partial(say, console)
    run = build_run(config, resume=True, say=told, tokenizer=tokenizer, world=world)
    if run.data.val is None:
        raise ValueError("there is no validation shard to evaluate on, see data.val")
    # There is nothing to save: a signal ends it at once.
    evaluation = evaluation_of(run, StopRequest(lambda: None), max_batches=None)
    say(console, f"step {run.step}  {evaluation}")
    return _result(run, evaluation, is_complete=True)


def _final_evaluation(run: Run) -> Evaluation | None:
    """The evaluation that ended the run, if it has ended at its present number of steps."""
    if run.step < run.config.train.max_train_steps:
        return None
    for record in reversed(read_metrics(run.folder)):
        if record["step"] == run.step and record.get("final"):
            return Evaluation(record["val_loss"], record["val_bits_per_byte"], record["val_tokens"])
    return None


def _result(run: Run, evaluation: Evaluation | None, *, is_complete: bool) -> RunResult:
    return RunResult(
        folder=run.folder,
        steps=run.step,
        val_loss=evaluation.loss if evaluation else None,
        val_bits_per_byte=evaluation.bits_per_byte if evaluation else None,
        is_complete=is_complete,
    )
