"""What a model takes along when it moves."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from minillm.config import ModelConfig, SampleConfig
from minillm.data import ChatTemplate
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

    @property
    def bos_id(self) -> int | None:
        """Token that a text begins with."""
        own = self.tokenizer.eot_id if self.tokenizer else None
        return own if self.sample.bos_id is None else self.sample.bos_id

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end a text; those that end a turn of a chat come first."""
        ids: list[int] = []
        if self.tokenizer and self.chat_template is not None:
            try:
                ids += sorted(ChatTemplate(self.chat_template, self.tokenizer).stop_ids)
            except ValueError as error:
                warnings.warn(f"what ends a turn is not known: {error}", stacklevel=2)
        if self.tokenizer and self.tokenizer.eot_id is not None:
            ids.append(self.tokenizer.eot_id)
        return list(dict.fromkeys([*ids, *self.sample.stop_ids]))


def refuse_pickles(folder: Path, loaded: str) -> None:
    """Refuses weights that would be read by running them; `loaded` is how their owner does it."""
    pickles = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
    if file := min((file for file in folder.iterdir() if file.suffix in pickles), default=None):
        problem = "is a pickle, which can run code when it is opened: not read"
        way_out = f"{loaded}.save_pretrained(NEW_FOLDER)"
        hint = f"if you trust it, let its library write safetensors: {way_out}"
        raise with_hint(ValueError(f"`{file}` {problem}"), hint)


def refuse_existing(target: Path) -> None:
    """Refuses to write over what another program may need."""
    if target.exists():
        raise with_hint(ValueError(f"`{target}` exists already"), "choose another name for it")
