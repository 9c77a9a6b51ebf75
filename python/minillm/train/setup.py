"""Builds a run from its configuration: data, model, optimizer, and where it was left off.

Everything that can be wrong with a run is found here, before its first step.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minillm.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_model_tensors,
    remove_temporary,
    replace_file,
    save_base,
    set_aside_after,
)
from minillm.config import Config, TrainConfig, dump_yaml, load_config
from minillm.model import Transformer
from minillm.model.lora import ADAPTER, add_adapter
from minillm.optim import build_optimizer
from minillm.tokenizer import TextEncoder
from minillm.train.data import Data, Say, open_data
from minillm.train.device import choose_device, set_threads
from minillm.train.health import logged_losses
from minillm.train.loop import Run
from minillm.train.metrics import MetricsLog
from minillm.train.samples import check_samples, cut_back_samples
from minillm.train.saving import restore

FIXED = (
    "optim.name",
    "train.seq_len",
    "train.seed",
    "train.mask_documents",
)
"""What, beside `lora`, the sequences of a step, and all of `model` but what computes the same, a
resumed run cannot change: state and data order hang on it."""


def build_run(
    config: Config,
    *,
    resume: bool,
    say: Say,
    tokenizer: TextEncoder | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Run:
    """Builds the run in `config.train.out_dir`, which the caller has locked.

    Args:
        config: What to train, fully resolved.
        resume: Whether to go on from the newest good checkpoint; from the start if the run was
            stopped before its first.
        say: Told what was found and chosen.
        tokenizer: See `open_data`.
        weights: What the model starts with; random ones when absent.

    Raises:
        ValueError: If data, model and checkpoint do not fit one another.
    """
    settings = config.train
    data = open_data(config, say=say, tokenizer=tokenizer)
    if data.tokenizer is not None and settings.generate_interval:
        check_samples(config.sample, data.tokenizer, config.model, data.template)
    device = choose_device(settings.device)
    threads = set_threads(settings.threads)
    shape = config.model.without_flex() if device.type == "cpu" else config.model
    if shape != config.model:
        say(
            f"model.attention_backend: {shape.attention_backend} takes the place of flex, which has"
            " no backward pass on a CPU"
        )
    torch.manual_seed(settings.seed)  # the weights are drawn on the CPU, so they are the same
    model = Transformer(shape)
    if weights is not None:
        load_model_tensors(model, weights)
    if config.lora.rank:
        add_adapter(model, ADAPTER, config.lora)
    model.to(device)
    if settings.mask_documents and data.template is None:  # conversations are numbered
        model.document_start = _document_start(data)
    run = Run(
        config=config,
        folder=settings.out_dir,
        device=device,
        model=model,
        forward=torch.compile(model) if settings.compile else model,
        optimizer=build_optimizer(model, config.optim),
        data=data,
        token_bytes=_token_bytes(data.tokenizer, config.model.vocab_size),
        metrics=MetricsLog(settings.out_dir),
        bad_steps=torch.zeros((), dtype=torch.int64, device=device),
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    size = f"{parameters:,} parameters"
    if learning < parameters:
        size += f", of which {learning:,} learn"
    where = f"{threads} CPU threads" if device.type == "cpu" else str(device)
    say(f"model: {size}, {settings.dtype}, on {where}")
    if resume:
        _restore(run, say)
    return run


def write_folder(run: Run) -> None:
    """Brings what lies beside the checkpoints in line with a run that is about to train."""
    remove_temporary(run.folder)
    set_aside_after(run.folder, run.step)
    run.metrics.cut_back(run.step)
    cut_back_samples(run.folder, run.step)
    replace_file(run.folder / "config.yaml", dump_yaml(run.config).encode())
    tokenizer_path = run.data.tokenizer_path
    if run.data.tokenizer is not None and tokenizer_path is not None:
        replace_file(run.folder / "tokenizer.json", tokenizer_path.read_bytes())
    if run.config.lora.rank and run.saved_step < 0:
        run.data.hashes["base"] = save_base(run.folder, run.model)


def _restore(run: Run, say: Say) -> None:
    if not list_checkpoints(run.folder):
        say(f"`{run.folder}` was stopped before its first checkpoint: starting over")
        return
    checkpoint, refused = latest_checkpoint(run.folder)
    for reason in refused:
        say(f"passed over: {reason}")
    if "optimizer.safetensors" not in checkpoint.files:
        raise ValueError(
            f"`{checkpoint.path}` holds weights alone: there is no run to go on with"
            f"\nhint: begin one from them by --init-from {run.folder} and another --out-dir"
        )
    _check_fits(run, checkpoint)
    restore(run, checkpoint)
    run.losses = logged_losses(run)
    say(f"resumed from `{checkpoint.path}`")


def _check_fits(run: Run, checkpoint: Checkpoint) -> None:
    """Refuses to go on with another model, order or text than the checkpoint was made with."""
    old = load_config(file=checkpoint.path / "config.yaml")
    (before, shown), (now, _) = (_sequences(config.train) for config in (old, run.config))
    if before != now:
        raise ValueError(
            f"a step has {now} sequences, but `{checkpoint.path}` was trained with {shown}"
            "\nhint: batch_size times gradient_accumulation_steps must stay the same"
        )
    fields = [f"lora.{name}" for name in dict(old.lora)]
    fields += [f"model.{name}" for name in dict(old.model) if name != "attention_backend"]
    for dotted in (*FIXED, *fields):
        before, now = _field(old, dotted), _field(run.config, dotted)
        if before != now:
            raise ValueError(
                f"{dotted} is {now!r}, but `{checkpoint.path}` was trained with {before!r}"
                "\nhint: resume without it, or start another run with another --out-dir"
            )
    read_by = " (or the run's `chat_template.jinja`)" if run.data.template else ""
    sources = {"train": f"`{run.data.path}`{read_by}", "tokenizer": "the tokenizer"}
    for name, source in sources.items():
        if checkpoint.hashes.get(name) != run.data.hashes.get(name):
            raise ValueError(
                f"{source} is not what `{checkpoint.path}` was trained with: its sha256 differs"
                "\nhint: point --data at the folder that the run began with"
            )


def _sequences(settings: TrainConfig) -> tuple[int, str]:
    """Sequences of one optimizer step, and how that comes about."""
    rows, micro_steps = settings.batch_size, settings.gradient_accumulation_steps
    shown = f"train.batch_size {rows} x gradient_accumulation_steps {micro_steps}"
    return rows * micro_steps, shown


def _document_start(data: Data) -> int:
    """The token before each document: its end-of-text token also ends the one before."""
    eot_id = None if data.tokenizer is None else data.tokenizer.eot_id
    if eot_id is None:
        raise ValueError(
            "train.mask_documents (true) needs a tokenizer with an end-of-text token, and"
            f" `{data.path}` comes without"
        )
    return eot_id


def _field(config: Config, dotted: str) -> Any:  # noqa: ANN401 - a field of any type
    section, _, name = dotted.partition(".")
    return getattr(getattr(config, section), name)


def _token_bytes(tokenizer: TextEncoder | None, vocab_size: int) -> NDArray[np.integer] | None:
    """Bytes of each id's text; ids that the model has beyond the tokenizer's stand for none."""
    if tokenizer is None:
        return None
    lengths = np.zeros(vocab_size, dtype=np.int64)
    known = tokenizer.token_bytes_lengths()
    lengths[: len(known)] = known
    return lengths
