"""Builds a run from its configuration: data, model, optimizer, and where it was left off.

Everything that can be wrong with a run is found here, before its first step.
"""

from collections.abc import Mapping
from operator import attrgetter
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
    save_base,
    set_aside_after,
)
from minillm.config import Config, TrainConfig, dump_yaml, load_config
from minillm.config.rules import FIXED
from minillm.files import replace_file
from minillm.model import Transformer
from minillm.model.lora import ADAPTER, add_adapter
from minillm.optim import build_optimizer
from minillm.tokenizer import TextEncoder
from minillm.track.metrics import MetricsLog
from minillm.track.processes import note_process
from minillm.train.data import Data, Say, open_data
from minillm.train.device import choose_device, set_threads
from minillm.train.health import logged_losses
from minillm.train.loop import Run
from minillm.train.samples import check_samples, cut_back_samples
from minillm.train.saving import restore
from minillm.train.world import ALONE, World, replicate, shard


def build_run(
    config: Config,
    *,
    resume: bool,
    say: Say,
    tokenizer: TextEncoder | None = None,
    weights: Mapping[str, Tensor] | None = None,
    world: World = ALONE,
) -> Run:
    """Builds the run in `config.train.out_dir`, which the caller has locked.

    Args:
        config: What to train, fully resolved.
        resume: Whether to go on from the newest good checkpoint; from the start if the run was
            stopped before its first.
        say: Told what was found and chosen.
        tokenizer: See `open_data`.
        weights: What the model starts with; random ones when absent.
        world: The processes that train it.

    Raises:
        ValueError: If data, model and checkpoint do not fit one another.
    """
    settings = shared_out(config.train, world.size)
    config = config.model_copy(update={"train": settings})
    data = open_data(config, say=say, tokenizer=tokenizer, world=world)
    if data.tokenizer is not None and settings.generate_interval:
        check_samples(config.sample, data.tokenizer, config.model, data.template)
    device = choose_device(settings.device, number=world.local_rank if world.size > 1 else None)
    set_threads(settings.threads, processes=world.local_size)
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
    model.recomputes = settings.activation_checkpointing
    if world.size > 1 and settings.parallel == "fsdp":
        shard(model)
    if world.rank:
        torch.manual_seed(settings.seed + world.rank)  # each process drops out others
    forward: Any = torch.compile(model) if settings.compile else model
    if world.size > 1 and settings.parallel == "ddp":
        forward = replicate(forward, device)
    run = Run(
        config=config,
        folder=settings.out_dir,
        device=device,
        model=model,
        forward=forward,
        optimizer=build_optimizer(model, config.optim),
        data=data,
        token_bytes=_token_bytes(data.tokenizer, config.model.vocab_size),
        metrics=MetricsLog(settings.out_dir, writes=world.is_first),
        bad_steps=torch.zeros((), dtype=torch.int64, device=device),
        world=world,
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    size = f"{parameters:,} parameters"
    if learning < parameters:
        size += f", of which {learning:,} learn"
    say(f"model: {size}, {settings.dtype}, on {_described(device)}")
    if resume:
        _restore(run, say)
    return run


def shared_out(settings: TrainConfig, processes: int) -> TrainConfig:
    """The settings with as many micro-steps as the processes can share; the step stays the same.

    Raises:
        ValueError: If the sequences of a step cannot be shared evenly.
    """
    sequences, _ = _sequences(settings)
    micro_steps = settings.gradient_accumulation_steps
    while micro_steps % processes or sequences % micro_steps:
        micro_steps += 1
        if micro_steps > sequences:
            raise ValueError(
                f"{sequences} sequences of a step cannot be shared by {processes} processes"
                f"\nhint: choose a --batch-size that {processes} divides"
            )
    sizes = {
        "batch_size": sequences // micro_steps,
        "gradient_accumulation_steps": micro_steps,
        # Of smaller batches it takes more for as many tokens.
        "eval_batches": settings.eval_batches * settings.batch_size * micro_steps // sequences,
    }
    return settings.model_copy(update=sizes)


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
    note_process(
        run.folder,
        step=run.step,
        device=_described(run.device),
        parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        hashes=run.data.hashes,
        config=run.config.model_dump(mode="json"),
    )


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
        before, now = map(attrgetter(dotted), (old, run.config))
        if before != now:
            raise ValueError(
                f"{dotted} is {now!r}, but `{checkpoint.path}` was trained with {before!r}"
                "\nhint: resume without it, or start another run with another --out-dir"
            )
    read_by = " (or the run's `chat_template.jinja`)" if run.data.template else ""
    sources = {"tokenizer": "the tokenizer"}
    sources |= {name: f"`{path}`{read_by}" for name, path in run.data.paths.items()}
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


def _described(device: torch.device) -> str:
    if device.type == "cpu":
        return f"{torch.get_num_threads()} CPU threads"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _document_start(data: Data) -> int:
    """The token before each document: its end-of-text token also ends the one before."""
    eot_id = None if data.tokenizer is None else data.tokenizer.eot_id
    if eot_id is None:
        raise ValueError(
            "train.mask_documents (true) needs a tokenizer with an end-of-text token, and"
            f" `{next(iter(data.paths.values()))}` comes without"
        )
    return eot_id


def _token_bytes(tokenizer: TextEncoder | None, vocab_size: int) -> NDArray[np.integer] | None:
    """Bytes of each id's text; ids that the model has beyond the tokenizer's stand for none."""
    if tokenizer is None:
        return None
    lengths = tokenizer.token_bytes_lengths()
    return np.pad(lengths, (0, vocab_size - len(lengths)))
