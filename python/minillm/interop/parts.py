"""What a model takes along when it moves."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from minillm.config import ModelConfig, SampleConfig
from minillm.messages import with_hint
from minillm.tokenizer import Tokenizer


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


def refuse_existing(target: Path) -> None:
    """Refuses to write over what another program may need."""
    if target.exists():
        raise with_hint(ValueError(f"`{target}` exists already"), "choose another name for it")
