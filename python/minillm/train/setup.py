"""Builds a run from its configuration: data, model, optimizer, and where it was left off.

Everything that can be wrong with a run is found here, before its first step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
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
    load_optimizer_tensors,
    load_rng_tensors,
    remove_temporary,
    replace_file,
    set_aside_after,
)
from minillm.config import Config, DataConfig, dump_yaml, load_config
from minillm.data import Batches, TokenFile
from minillm.model import Transformer
from minillm.optim import build_optimizer
from minillm.tokenizer import TextEncoder, Tokenizer
from minillm.train.device import choose_device, set_threads
from minillm.train.loop import Run
from minillm.train.metrics import MetricsLog
from minillm.train.samples import check_samples, cut_back_samples

FIXED = (
    "optim.name",
    "train.batch_size",
    "train.seq_len",
    "train.gradient_accumulation_steps",
    "train.seed",
    "train.mask_documents",
)
"""What a resumed run cannot change, with all of `model` but what computes the same: state and data
order hang on it."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Data:
    """The token files of a run and the tokenizer that wrote them, checked against each other."""

    train: TokenFile
    val: TokenFile | None
    tokenizer: TextEncoder | None
    tokenizer_path: Path | None

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of what a checkpoint depends on, by name."""
        hashes = {"train": self.train.sha256}
        if self.val is not None:
            hashes["val"] = self.val.sha256
        if self.tokenizer is not None:
            hashes["tokenizer"] = self.tokenizer.sha256
        return hashes


def open_data(
    config: DataConfig, *, vocab_size: int, say: Say, tokenizer: TextEncoder | None = None
) -> Data:
    """Opens the token files and checks that they fit one another and the model.

    Args:
        config: Where they are.
        vocab_size: Ids that the model has rows for.
        say: Told of what is missing but not needed.
        tokenizer: Taken instead of the `tokenizer.json` beside them.

    Raises:
        ValueError: If there is no training shard, or something does not fit.
        OSError: If a file cannot be read.
    """
    train_path = config.train or config.path / "train.bin"
    val_path = config.val or config.path / "val.bin"
    if not TokenFile.exists(train_path):
        raise ValueError(
            f"no training shard `{train_path}`"
            "\nhint: make one with `minillm-bpe encode TEXT --tokenizer FILE --out FOLDER/train.bin"
            " --val-fraction 0.01`, then pass --data FOLDER"
        )
    train = TokenFile(train_path)
    val = TokenFile(val_path) if config.val or TokenFile.exists(val_path) else None
    if train.manifest is None:
        say(f"`{train_path}` has no manifest: read as {train.layout.described}")
    if val is None:
        say(f"no validation shard `{val_path}`: nothing is held out to validate on")
    elif len(val) < 2:  # documents are held out whole, and a text may be a single one
        say(f"`{val_path}` holds {len(val)} tokens: nothing is held out to validate on")
        val = None
    tokenizer_path = None if tokenizer else config.path / "tokenizer.json"
    if tokenizer_path and tokenizer_path.exists():
        tokenizer = Tokenizer.load(tokenizer_path)
    source = tokenizer_path or "the tokenizer passed in"
    if tokenizer is None:
        say(f"no `{source}`: no samples and no bits per byte")
    elif tokenizer.vocab_size > vocab_size:
        raise ValueError(
            f"model.vocab_size ({vocab_size}) is smaller than that of `{source}`"
            f" ({tokenizer.vocab_size})"
        )
    for shard in (train, val):
        if shard is None:
            continue
        if tokenizer is not None:
            shard.check_tokenizer(tokenizer.sha256, source)
        shard.check_ids(vocab_size)
    return Data(train, val, tokenizer, tokenizer_path)


def data_vocab_size(config: DataConfig) -> int | None:
    """Vocabulary of the data, from its tokenizer or else its manifest; `None` if neither is there.

    For the configuration, which takes it from here unless the model's preset has one of its own.
    """
    tokenizer_path = config.path / "tokenizer.json"
    if tokenizer_path.exists():
        return Tokenizer.load(tokenizer_path).vocab_size
    train_path = config.train or config.path / "train.bin"
    if not TokenFile.exists(train_path):
        return None
    manifest = TokenFile(train_path).manifest
    return None if manifest is None else manifest.vocab_size


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
    vocab_size = config.model.vocab_size
    data = open_data(config.data, vocab_size=vocab_size, say=say, tokenizer=tokenizer)
    if data.tokenizer is not None and settings.generate_interval:
        check_samples(config.sample, data.tokenizer, config.model)
    device = choose_device(settings.device)
    threads = set_threads(settings.threads)
    shape = config.model.without_flex() if device.type == "cpu" else config.model
    if shape != config.model:
        say(
            f"model.attention_backend: {shape.attention_backend} takes the place of flex, which has"
            " no backward pass on a CPU"
        )
    torch.manual_seed(settings.seed)  # the weights are drawn on the CPU, so they are the same
    model = Transformer(shape).to(device)
    if weights is not None:
        load_model_tensors(model, weights)
    if settings.mask_documents:
        model.document_start = _document_start(data)
    run = Run(
        config=config,
        folder=settings.out_dir,
        device=device,
        model=model,
        forward=torch.compile(model) if settings.compile else model,
        optimizer=build_optimizer(model, config.optim),
        batches=Batches(
            data.train,
            seq_len=settings.seq_len,
            batch_size=settings.batch_size,
            seed=settings.seed,
        ),
        val=data.val,
        tokenizer=data.tokenizer,
        tokenizer_path=data.tokenizer_path,
        token_bytes=_token_bytes(data.tokenizer, config.model.vocab_size),
        hashes=data.hashes,
        metrics=MetricsLog(settings.out_dir),
        bad_steps=torch.zeros((), dtype=torch.int64, device=device),
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    where = f"{threads} CPU threads" if device.type == "cpu" else str(device)
    say(f"model: {parameters:,} parameters, {settings.dtype}, on {where}")
    say(f"data: {len(data.train):,} tokens in `{data.train.path}`")
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
    if run.tokenizer is not None and run.tokenizer_path is not None:
        replace_file(run.folder / "tokenizer.json", run.tokenizer_path.read_bytes())


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
    load_model_tensors(run.model, checkpoint.tensors("model"))
    load_optimizer_tensors(run.model, run.optimizer, checkpoint.tensors("optimizer"))
    load_rng_tensors(checkpoint.tensors("rng"), run.device)
    run.step = run.saved_step = checkpoint.step
    run.elapsed_s = float(checkpoint.state["elapsed_s"])
    say(f"resumed from `{checkpoint.path}`")


def _check_fits(run: Run, checkpoint: Checkpoint) -> None:
    """Refuses to go on with another model, order or text than the checkpoint was made with."""
    old = load_config(file=checkpoint.path / "config.yaml")
    shape = [name for name in type(old.model).model_fields if name != "attention_backend"]
    fixed = (*FIXED, *(f"model.{name}" for name in shape))
    for dotted in fixed:
        before, now = _field(old, dotted), _field(run.config, dotted)
        if before != now:
            raise ValueError(
                f"{dotted} is {now!r}, but `{checkpoint.path}` was trained with {before!r}"
                "\nhint: resume without it, or start another run with another --out-dir"
            )
    sources = {"train": f"`{run.batches.tokens.path}`", "tokenizer": "the tokenizer"}
    for name, source in sources.items():
        if checkpoint.hashes.get(name) != run.hashes.get(name):
            raise ValueError(
                f"{source} is not what `{checkpoint.path}` was trained with: its sha256 differs"
                "\nhint: point --data at the folder that the run began with"
            )


def _document_start(data: Data) -> int:
    """The token before each document: its end-of-text token also ends the one before."""
    eot_id = None if data.tokenizer is None else data.tokenizer.eot_id
    if eot_id is None:
        raise ValueError(
            "train.mask_documents (true) needs a tokenizer with an end-of-text token, and"
            f" `{data.train.path}` comes without"
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
