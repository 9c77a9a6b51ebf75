"""Whom our models can pass for: one table an architecture, both ways, in `architectures.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from minillm.config.files import read_file

_FILE = "architectures.yaml"
_TABLES = read_file(resources.files("minillm.interop") / _FILE, _FILE)

REQUIRED = object()
"""Stands for the default of a key that a `config.json` must have."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture of Hugging Face's.

    Attributes:
        model_type: Its name in `config.json`.
        class_name: The class of `transformers` that runs it.
        gguf_name: Its name in GGUF files; absent where we write none.
        fixed: Fields of `model` that it does not leave open.
        keys: Key of `config.json` to our field and the value that an absent key stands for; `None`
            leaves an absent one to our own rule. (In the file, a key without such a value is
            `REQUIRED`.)
        constants: Keys that we do not have, with the values under which nothing differs; the first
            is the one that an absent key stands for, and the one written.
        weights: Their tensor to ours, without `.weight` and `.bias`; `{n}` is the layer, `{e}` the
            expert of a stack. Several of ours are joined along their rows.
        stores_by_input: Matrices of the layers are stored (d_in, d_out).
        prefix: What may be missing in front of a tensor's name.
        no_weights: Regex of tensors that a file may hold and that are none: masks, angles.
    """

    model_type: str
    class_name: str
    gguf_name: str | None
    fixed: Mapping[str, Any]
    keys: Mapping[str, tuple[str, Any]]
    constants: Mapping[str, list[Any]]
    weights: Mapping[str, tuple[str, ...]]
    stores_by_input: bool = False
    prefix: str = "model."
    no_weights: str = r"\.rotary_emb\.inv_freq$"


def _parsed(model_type: str, table: Mapping[str, Any]) -> Architecture:
    keys = {
        key: (field, default[0] if default else REQUIRED)
        for key, (field, *default) in table["keys"].items()
    }
    weights = {theirs: tuple(ours.split()) for theirs, ours in table["weights"].items()}
    return Architecture(model_type=model_type, **{**table, "keys": keys, "weights": weights})


ARCHITECTURES = {name: _parsed(name, table) for name, table in _TABLES["architectures"].items()}

RAMPS: Mapping[str, list[str]] = _TABLES["ramps"]
"""Their kinds of RoPE that slow pairs down by turns, with the keys of our `rope_*_ramp`."""

ALIASES: Mapping[str, str] = _TABLES["aliases"]
"""What newer releases of `transformers` call a key."""

IDLE_KEYS = frozenset(_TABLES["idle_keys"].split())
"""Keys of `config.json` that change nothing of what a model computes from ids to logits."""

GGUF_KEYS: Mapping[str, Mapping[str, str]] = _TABLES["gguf_keys"]
"""By what decides whether a GGUF file has them: its keys and our fields."""

PEFT_IDLE_KEYS = frozenset(_TABLES["peft_idle_keys"].split())
"""Keys of `adapter_config.json` that change nothing of what an adapter computes."""

FREE_FIELDS = frozenset(_TABLES["free_fields"].split())
"""Our fields that no other program need know of: training alone, or another way to the same sum."""
