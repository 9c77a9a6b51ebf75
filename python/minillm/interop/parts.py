"""What a model takes along when it moves, and how it is put down: wholly, or not at all."""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from minillm.checkpoint.files import sync_folder
from minillm.config import ModelConfig, SampleConfig
from minillm.messages import with_hint
from minillm.tokenizer import Tokenizer

CHAT_TEMPLATE = "chat_template.jinja"
"""Name of the chat template's file, in run folders as in Hugging Face's."""


class Parts(NamedTuple):
    """A model under our names, wherever it comes from.

    Attributes:
        model: Its shape.
        tensors: Its weights.
        tokenizer: The one that it was trained with, if there is one.
        chat_template: jinja2 text that turns a conversation into a prompt, if there is one.
        sample: How to sample from it.
    """

    model: ModelConfig
    tensors: Mapping[str, Tensor]
    tokenizer: Tokenizer | None
    chat_template: str | None
    sample: SampleConfig


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A place that gets the name `target` when what is there is complete, and vanishes if not.

    The caller makes it, a file or a folder.

    Raises:
        ValueError: If there is something at `target` already.
    """
    if target.exists():
        raise with_hint(ValueError(f"`{target}` exists already"), "choose another name for it")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield aside
        if aside.is_dir():
            sync_folder(aside)
        aside.rename(target)
    except BaseException:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
