"""One optimizer step, and the dry run before the first.

The dry run takes a batch through the model and back to see that it computes, compiles and fits into
memory. What it did is undone: a run begins as if it had not been.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from minillm.checkpoint import load_rng_tensors, rng_tensors
from minillm.config import dump_yaml
from minillm.data import Batch
from minillm.files import replace_file
from minillm.model import move_biases, reset_load
from minillm.model.experts import routers
from minillm.optim import clip_grad_norm, set_learning_rate
from minillm.train.data import open_data
from minillm.train.device import autocast
from minillm.train.health import check_finite
from minillm.train.world import synchronize_gradients

if TYPE_CHECKING:
    from minillm.train.loop import Run


def train_step(run: "Run") -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """One optimizer step; returns its mean cross-entropy and the gradient's norm before clipping.

    Both stay on the device: reading them would make the CPU wait for it at every step. Only where
    the CPU itself has them are they looked at before the update; elsewhere the caller does it.

    Raises:
        NonFiniteError: On the CPU, if either is not finite; the weights are then as they were.
    """
    config = run.config
    micro_steps = config.train.gradient_accumulation_steps // run.world.size
    first = (run.step + run.skipped_steps) * micro_steps
    total_loss = torch.zeros((), device=run.device)
    reset_load(run.model)
    batches = [run.data.train.batch(first + i, run.device) for i in range(micro_steps)]
    n_targets = run.world.sum(torch.tensor(sum(batch.n_targets for batch in batches))).item()
    for number, batch in enumerate(batches, 1):
        share = batch.n_targets / max(1, n_targets)  # so that each target of the step counts alike
        _backward(run, batch, share, synchronized=number == micro_steps)
        total_loss += run.model.cross_entropy * share
    run.world.sum(total_loss)
    for router in routers(run.model):
        run.world.sum(router.load)
    grad_norm = clip_grad_norm(run.model.parameters(), config.optim.grad_clip or float("inf"))
    run.bad_steps += ~torch.isfinite(total_loss + grad_norm)
    if run.device.type == "cpu":
        check_finite(run, total_loss, grad_norm)
    set_learning_rate(run.optimizer, config.optim, run.step, config.train.max_train_steps)
    run.optimizer.step()
    move_biases(run.model)
    run.optimizer.zero_grad(set_to_none=True)
    return total_loss, grad_norm


def dry_run(run: "Run") -> str:
    """Takes one batch through model and gradient, and tells what that changed in the configuration.

    Where memory does not suffice, `train.auto_micro_batch` halves `batch_size` and doubles
    `gradient_accumulation_steps`, which leaves the step the same; the run's `config.yaml` then says
    so.

    Raises:
        ValueError: If a batch does not fit into memory.
    """
    settings, asked = run.config.train, run.config.train
    while run.world.any(not _fits(run)):
        if settings.batch_size % 2 or not settings.auto_micro_batch:
            raise ValueError(
                f"out of memory: {settings.batch_size} x {settings.seq_len} tokens of this model do"
                f" not fit on `{run.device}`\nhint: try a lower --batch-size or --seq-len, or"
                " --dtype bfloat16"
            )
        halved = {
            "batch_size": settings.batch_size // 2,
            "gradient_accumulation_steps": settings.gradient_accumulation_steps * 2,
            "eval_batches": settings.eval_batches * 2,
        }
        settings = settings.model_copy(update=halved)
        run.config = run.config.model_copy(update={"train": settings})
        passed_in = None if run.data.tokenizer_path else run.data.tokenizer
        data = open_data(run.config, say=_unsaid, tokenizer=passed_in, world=run.world)
        run.data = replace(run.data, train=data.train, val=data.val)
    if settings is asked:
        return ""
    if run.world.is_first:
        replace_file(run.folder / "config.yaml", dump_yaml(run.config).encode())
    return (
        f"train.batch_size {asked.batch_size} does not fit into memory:"
        f" {settings.batch_size} in {settings.gradient_accumulation_steps} micro-steps takes its"
        " place"
    )


def _unsaid(_: str) -> None:
    """What `open_data` has said already."""


def _fits(run: "Run") -> bool:
    """Whether a batch finds the memory it needs, beside the optimizer's state on a GPU."""
    generators = rng_tensors(run.device)
    learning = [p for group in run.optimizer.param_groups for p in group["params"]]
    try:
        if run.device.type == "cuda" and not run.optimizer.state:
            _reserved = [torch.empty_like(p) for p in learning for _ in range(2)]
        batch = run.data.train.batch(0, run.device)
        # Spread gradients that were not exchanged would stay; whole ones need no one else's.
        _backward(run, batch, 1.0, synchronized=run.config.train.parallel == "fsdp")
    except RuntimeError as error:
        if "out of memory" in str(error) or "allocate memory" in str(error):
            return False
        raise
    finally:
        run.optimizer.zero_grad(set_to_none=True)
        load_rng_tensors(generators, run.device)
    return True


def _backward(run: "Run", batch: Batch, share: float, *, synchronized: bool) -> None:
    """Adds a micro-step's share to the gradients, and with the last one those of all processes."""
    synchronize_gradients(run.forward, run.model, on=synchronized)
    with autocast(run.device, run.config.train.dtype):
        loss = run.forward(batch.ids, targets=batch.targets, documents=batch.documents)
    (loss * share * run.world.size).backward()  # as what is exchanged is the mean
