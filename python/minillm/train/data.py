"""What a run reads: token files, or conversations, and the tokenizer that made their ids."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minillm.config import Config, DataConfig, TrainConfig
from minillm.data import (
    Batch,
    Batches,
    ChatTemplate,
    ConversationBatches,
    Conversations,
    TokenFile,
    evaluation_windows,
)
from minillm.infer import CHAT_TEMPLATE
from minillm.tokenizer import TextEncoder, Tokenizer
from minillm.train.world import ALONE, World

Say = Callable[[str], None]
Validation = Callable[..., Iterator[Batch]]
"""Batches to evaluate on, `max_batches` of them, or all."""


@dataclass(frozen=True)
class Data:
    """What a run trains and validates on, checked against each other and the model.

    Attributes:
        train: Training batches by number.
        val: Validation batches, if there are any.
        paths: Where the training data lie, by the names of their hashes.
        tokenizer: The one that wrote the tokens, if it is known.
        tokenizer_path: Where it was loaded from.
        template: How conversations are written down; absent where text is read.
        hashes: sha256 of what a checkpoint depends on, by name.
    """

    train: Batches | ConversationBatches
    val: Validation | None
    paths: dict[str, Path]
    tokenizer: TextEncoder | None
    tokenizer_path: Path | None
    template: ChatTemplate | None
    hashes: dict[str, str]


def open_data(
    config: Config, *, say: Say, tokenizer: TextEncoder | None = None, world: World = ALONE
) -> Data:
    """Opens what a run reads, and checks that it fits together and fits the model.

    Args:
        config: Of the run.
        say: Told of what is there, and of what is missing but not needed.
        tokenizer: Taken instead of the `tokenizer.json` beside token files.
        world: Processes that share the training batches.

    Raises:
        ValueError: If there is nothing to train on, or something does not fit.
        OSError: If a file cannot be read.
    """
    if is_chat(config.data):
        return _open_conversations(config, say, world)
    train = _open_train(config.data, say)
    val_path = config.data.val or config.data.path / "val.bin"
    val = TokenFile(val_path) if config.data.val or TokenFile.exists(val_path) else None
    if val is None:
        say(f"no validation shard `{val_path}`: nothing is held out to validate on")
    elif len(val) < 2:  # documents are held out whole, and a text may be a single one
        say(f"`{val_path}` holds {len(val)} tokens: nothing is held out to validate on")
        val = None
    tokenizer_path = None if tokenizer else config.data.path / "tokenizer.json"
    if tokenizer_path and tokenizer_path.exists():
        tokenizer = Tokenizer.load(tokenizer_path)
    source = tokenizer_path or "the tokenizer passed in"
    if tokenizer is None:
        say(f"no `{source}`: no samples and no bits per byte")
    else:
        _check_vocab_size(tokenizer, source, config)
    shards = train if val is None else {**train, "val": val}
    for shard in shards.values():
        if tokenizer is not None:
            shard.check_tokenizer(tokenizer.sha256, source)
        shard.check_ids(config.model.vocab_size)
    hashes = {name: shard.sha256 for name, shard in shards.items()}
    if tokenizer is not None:
        hashes["tokenizer"] = tokenizer.sha256
    sizes = _sizes(config.train)
    windows = None if val is None else partial(evaluation_windows, val, **sizes)
    batches = Batches(
        list(train.values()),
        list(_mixture(config.data).values()),
        **sizes,
        seed=config.train.seed,
        stride=config.data.stride,
        at_documents=config.data.rows == "documents",
        rank=world.rank,
        world=world.size,
    )
    paths = {name: shard.path for name, shard in train.items()}
    return Data(batches, windows, paths, tokenizer, tokenizer_path, None, hashes)


def _mixture(config: DataConfig) -> dict[Path, float]:
    """Each training shard and its weight; by name, as a mapping says the same in any order."""
    if config.mixture:
        return {config.path / name: weight for name, weight in sorted(config.mixture.items())}
    return {config.train or config.path / "train.bin": 1.0}


def _open_train(config: DataConfig, say: Say) -> dict[str, TokenFile]:
    """The training shards by the names of their hashes; all are of one tokenizer."""
    files: dict[str, TokenFile] = {}
    for path in _mixture(config):
        if not TokenFile.exists(path):
            named = ", which data.mixture names" if config.mixture else ""
            raise ValueError(
                f"no training shard `{path}`{named}"
                "\nhint: make one with `minillm-bpe encode TEXT --tokenizer FILE --out"
                " FOLDER/train.bin --val-fraction 0.01`, then pass --data FOLDER"
            )
        file = TokenFile(path)
        files[f"train {len(files)}" if config.mixture else "train"] = file
        if file.manifest is None:
            say(f"`{path}` has no manifest: read as {file.layout.described}")
        first = next(iter(files.values()))
        if first.manifest is not None:
            file.check_tokenizer(first.manifest.tokenizer_sha256, first.path)
        say(f"data: {len(file):,} tokens in `{path}`")
    return files


def is_chat(config: DataConfig) -> bool:
    """Whether the data are conversations, and not token files."""
    return config.path.suffix == ".jsonl"


def data_vocab_size(config: DataConfig) -> int | None:
    """Vocabulary of the data, from its tokenizer or else its manifest; `None` if neither is there.

    For the configuration, which takes it from here unless the model's preset has one of its own.
    """
    tokenizer_path = config.path / "tokenizer.json"
    if tokenizer_path.exists():
        return Tokenizer.load(tokenizer_path).vocab_size
    train_path = next(iter(_mixture(config)))
    if not TokenFile.exists(train_path):
        return None
    manifest = TokenFile(train_path).manifest
    return None if manifest is None else manifest.vocab_size


def _open_conversations(config: Config, say: Say, world: World) -> Data:
    """Conversations and, in the run's folder, the tokenizer and template to read them by."""
    settings = config.train
    tokenizer_path = settings.out_dir / "tokenizer.json"
    if not tokenizer_path.exists():  # which `minillm sft` puts there
        raise ValueError(f"`{config.data.path}` holds conversations: `minillm sft` learns them")
    tokenizer = Tokenizer.load(tokenizer_path)
    _check_vocab_size(tokenizer, tokenizer_path, config)
    source = (settings.out_dir / CHAT_TEMPLATE).read_text(encoding="utf-8")
    template = ChatTemplate(source, tokenizer)
    batches = []
    hashes = {"tokenizer": tokenizer.sha256}
    for name, path in (("train", config.data.path), ("val", config.data.val)):
        if path is None:
            say("no --data.val: nothing is held out to validate on")
            continue
        read = Conversations(path, template, seq_len=settings.seq_len)
        shares = {"rank": world.rank, "world": world.size} if name == "train" else {}
        batches.append(ConversationBatches(read, **_sizes(settings), seed=settings.seed, **shares))
        hashes[name] = hashlib.sha256(f"{read.sha256} {source}".encode()).hexdigest()
        say(f"data: {len(read.kept):,} conversations in {batches[-1].windows:,} rows of `{path}`")
        if read.left_out:
            say(
                f"`{path}`: {len(read.left_out)} conversations are longer than train.seq_len"
                f" ({settings.seq_len}) and left out, the first on line {read.left_out[0]}"
            )
    paths = {"train": config.data.path}
    val = batches[1].in_order if len(batches) > 1 else None
    return Data(batches[0], val, paths, tokenizer, tokenizer_path, template, hashes)


def _sizes(settings: TrainConfig) -> dict[str, int]:
    return {"seq_len": settings.seq_len, "batch_size": settings.batch_size}


def _check_vocab_size(tokenizer: TextEncoder, source: Path | str, config: Config) -> None:
    if tokenizer.vocab_size > config.model.vocab_size:
        raise ValueError(
            f"model.vocab_size ({config.model.vocab_size}) is smaller than that of `{source}`"
            f" ({tokenizer.vocab_size})"
        )
