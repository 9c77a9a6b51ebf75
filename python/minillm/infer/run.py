"""From a run folder, or one checkpoint in it, to a model that can be asked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from minillm.checkpoint import (
    BEST,
    LATEST,
    Checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_model_tensors,
)
from minillm.config import Config, load_config
from minillm.config.rules import CHANGEABLE
from minillm.messages import with_hint
from minillm.model import Transformer
from minillm.model.lora import ADAPTER, add_adapter, fold_adapter
from minillm.tokenizer import TextEncoder, Tokenizer

CHAT_TEMPLATE = "chat_template.jinja"
"""Name of the chat template's file, in run folders as in Hugging Face's."""


class LoadedRun(NamedTuple):
    """What `load_run` found: a model in evaluation mode and what belongs to it."""

    model: Transformer
    tokenizer: TextEncoder
    config: Config
    chat_template: str | None


def load_run(
    path: Path,
    *,
    device: str = "cpu",
    tokenizer: TextEncoder | None = None,
    model: Mapping[str, object] | None = None,
) -> LoadedRun:
    """Loads the model, tokenizer and configuration of a run; adapters are merged.

    A model reads on beyond the context of its training with, for example, `model={
    "context_length": 4096, "rope_scaling": "yarn", "rope_scaling_factor": 4.0}`.

    Args:
        path: A run folder, whose newest sound checkpoint is taken, or one of its checkpoints.
        device: Where the model goes.
        tokenizer: The one that it was trained with, if that was passed to the training, too.
        model: Values for fields of its `model` section, of those that are `CHANGEABLE`.

    Raises:
        ValueError: If there is no such folder, nothing trained in it, its parts do not fit
            together, or a field cannot be changed; the message names the file or the field.
    """
    changes = {name.replace("-", "_"): value for name, value in (model or {}).items()}
    for name in changes:
        if name not in CHANGEABLE:
            raise ValueError(
                f"model.{name} cannot be changed in a trained model, only one of"
                f" {', '.join(CHANGEABLE)}"
            )
    overrides = {
        f"model.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in changes.items()
    }
    checkpoint = find_checkpoint(path)
    config = load_config(file=checkpoint.path / "config.yaml", overrides=overrides)
    tokenizer = _checked_tokenizer(checkpoint, tokenizer)
    if tokenizer.vocab_size > config.model.vocab_size:
        raise ValueError(
            f"`{checkpoint.path.parent / 'tokenizer.json'}` has {tokenizer.vocab_size} ids,"
            f" the model's vocab_size is {config.model.vocab_size}"
        )
    transformer = Transformer(config.model)
    if config.lora.rank:
        load_model_tensors(transformer, checkpoint.base())
        add_adapter(transformer, ADAPTER, config.lora)
    load_model_tensors(transformer, checkpoint.tensors("model"))
    fold_adapter(transformer)
    file = checkpoint.path.parent / CHAT_TEMPLATE
    template = file.read_text(encoding="utf-8") if file.is_file() else None
    return LoadedRun(transformer.to(device).eval(), tokenizer, config, template)


def find_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that `path` is or names, or the newest sound one of the run that it is.

    Raises:
        ValueError: If it is neither.
    """
    if path.name in (BEST, LATEST) and path.is_file():
        path = path.with_name(path.read_text(encoding="utf-8").strip())
    if not path.is_dir():
        raise ValueError(f"`{path}` is no folder, expected a run or one of its checkpoints")
    if (path / "manifest.json").is_file():
        return load_checkpoint(path)
    if not list_checkpoints(path):
        error = ValueError(f"`{path}` holds no checkpoint")
        raise with_hint(error, f"train one with `minillm pretrain --out-dir {path}`")
    return latest_checkpoint(path)[0]


def _checked_tokenizer(checkpoint: Checkpoint, tokenizer: TextEncoder | None) -> TextEncoder:
    """The given tokenizer or the run's, if it is the one that the checkpoint was trained with."""
    file = checkpoint.path.parent / "tokenizer.json"
    source = "the tokenizer passed in" if tokenizer else f"`{file}`"
    if tokenizer is None:
        if not file.is_file():
            raise ValueError(f"`{file}` is missing: the run's text cannot be told from its ids")
        tokenizer = Tokenizer.load(file)
    expected = checkpoint.hashes.get("tokenizer")
    if expected is not None and tokenizer.sha256 != expected:
        raise ValueError(
            f"{source} has sha256 {tokenizer.sha256[:12]}, `{checkpoint.path}` was trained with"
            f" {expected[:12]}"
        )
    return tokenizer
