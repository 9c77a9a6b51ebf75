"""Saving a run, and going back to what was saved.

The loop waits for a copy of the state in memory; a thread of its own writes that copy to the disk
while training goes on. One checkpoint is written at a time, and what went wrong with it is told at
the next step.
"""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from torch import Tensor

from minillm.checkpoint import (
    Checkpoint,
    load_model_tensors,
    load_optimizer_tensors,
    load_rng_tensors,
    model_tensors,
    optimizer_tensors,
    rng_tensors,
    rotate_checkpoints,
    save_checkpoint,
)
from minillm.config import dump_yaml
from minillm.track.metrics import read_metrics
from minillm.track.report import write_report

if TYPE_CHECKING:
    from minillm.train.loop import Run

REPORT_AGE_S = 20.0
"""Plots are drawn at saves, but no more often than this."""


class NonFiniteError(ValueError):
    """Loss, gradient or weights of a step are not numbers; the step is not saved."""


class Writer:
    """Does one piece of work at a time in the background."""

    def __init__(self) -> None:
        self._begun: Future[None] = Future()
        self._begun.set_result(None)

    def start(self, work: Callable[[], None]) -> None:
        """Begins with `work` when what was begun before is done."""
        self.wait()
        begun = self._begun = Future[None]()

        def run() -> None:
            try:
                work()
                begun.set_result(None)
            except BaseException as error:
                begun.set_exception(error)

        # A second Ctrl-C ends the process without it: half a checkpoint is no worse than none.
        threading.Thread(target=run, name="checkpoint", daemon=True).start()

    def wait(self) -> None:
        """Waits until nothing is under way.

        Raises:
            OSError: Or whatever else the work ended with.
        """
        self._begun.result()

    def check(self) -> None:
        """Raises what a piece of work ended with, without waiting for one that goes on."""
        if self._begun.done():
            self.wait()


def save(run: "Run") -> None:
    """Begins a checkpoint of the current step, and brings the plots up to date after it.

    Raises:
        OSError: If the one before it could not be written; those before that are still there.
        NonFiniteError: If a weight is not finite, as one may be that no loss has used yet.
    """
    run.writer.wait()
    step, folder, settings = run.step, run.folder, run.config.train
    config_yaml = dump_yaml(run.config)
    batches = (step + run.skipped_steps) * settings.gradient_accumulation_steps
    samples = batches * settings.batch_size
    state = {
        "step": step,
        "skipped_steps": run.skipped_steps,
        "rewinds": run.rewinds,
        "tokens": step * run.tokens_per_step,
        "samples": samples,
        "epochs": run.data.train.order.epochs(samples),
        "elapsed_s": run.elapsed_s,
    }
    parts = {
        "model": model_tensors(run.model),
        "optimizer": optimizer_tensors(run.model, run.optimizer),
        "rng": run.world.gather(rng_tensors(run.device)),
    }
    for name, tensor in (parts["model"] | parts["optimizer"]).items():
        if not tensor.isfinite().all():
            raise NonFiniteError(
                f"`{name}` stopped being finite by step {step}: not saved, {newest_checkpoint(run)}"
            )
    if not run.world.is_first:
        run.saved_step = step
        return
    # The loop goes on to change its own.
    tensors = {
        name: {key: tensor.to("cpu", copy=True) for key, tensor in part.items()}
        for name, part in parts.items()
    }
    hashes = {**run.data.hashes, "config": hashlib.sha256(config_yaml.encode()).hexdigest()}

    def write() -> None:
        try:
            save_checkpoint(
                folder,
                step=step,
                tensors=tensors,
                state=state,
                config_yaml=config_yaml,
                hashes=hashes,
            )
        except OSError as error:
            error.add_note(f"{newest_checkpoint(run)}; make room and go on from there by --resume")
            raise
        run.saved_step = step
        rotate(run)
        write_report(folder, max_age_s=REPORT_AGE_S)

    run.writer.start(write)


def rotate(run: "Run") -> None:
    """Deletes the checkpoints that the configuration does not want kept."""
    settings = run.config.train
    records = read_metrics(run.folder) if settings.keep_best else []
    rotate_checkpoints(
        run.folder,
        newest=settings.keep_checkpoints,
        every=settings.keep_every,
        # The very last is of other tokens.
        val_losses={r["step"]: r["val_loss"] for r in records if r.get("final") is False},
    )


def restore(run: "Run", checkpoint: Checkpoint) -> None:
    """Brings a run to where it was when `checkpoint` was taken."""
    if run.config.lora.rank:
        run.model.load_state_dict(checkpoint.base(), strict=False)  # the adapters come next
        run.data.hashes["base"] = checkpoint.hashes["base"]
    load_model_tensors(run.model, checkpoint.tensors("model"))
    load_optimizer_tensors(run.model, run.optimizer, checkpoint.tensors("optimizer"))
    _restore_generators(run, checkpoint.tensors("rng"))
    run.step = run.saved_step = checkpoint.step
    run.skipped_steps = int(checkpoint.state.get("skipped_steps", 0))
    run.rewinds = int(checkpoint.state.get("rewinds", 0))
    run.elapsed_s = float(checkpoint.state["elapsed_s"])


def _restore_generators(run: "Run", states: dict[str, Tensor]) -> None:
    """Puts this process's generators back; where there were fewer processes, its own go on."""
    if run.world.rank:
        end = f".{run.world.rank}"
        states = {n.removesuffix(end): state for n, state in states.items() if n.endswith(end)}
    if states:
        load_rng_tensors(states, run.device)


def newest_checkpoint(run: "Run") -> str:
    """Which checkpoint there is to go back to, in words."""
    return (
        f"the newest checkpoint is step {run.saved_step}"
        if run.saved_step >= 0
        else "there is no checkpoint yet"
    )
