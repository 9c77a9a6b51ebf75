"""Puts a configuration together from presets, files and the command line.

Precedence, weakest first: defaults, `base`, the model's and the recipe's preset, the config file,
overrides. A `model.depth` takes the place of every size in weaker layers. Every value remembers
where it came from, so that a message can name the file to mend.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from yaml import YAMLError

from minillm.config.files import PresetKind, parse_yaml, read_file, read_preset
from minillm.config.messages import did_you_mean, validated
from minillm.config.model.shape import SIZE_FIELDS
from minillm.config.rules import NEEDS, is_idle
from minillm.config.tree import Config

DEFAULT_MODEL = "tiny"
DEFAULT_RECIPE = "compat"

SECTIONS: dict[str, type[BaseModel]] = {
    name: info.annotation
    for name, info in Config.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
}

FIELDS: tuple[str, ...] = tuple(
    f"{section}.{name}" for section, schema in SECTIONS.items() for name in schema.model_fields
)
"""Dotted name of each field of the tree."""


@dataclass(frozen=True)
class _Layers:
    """Values laid over one another, and where each came from."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Mapping[str, Any], place: str) -> None:
        """Lays `layer` over the others; names that are not known are validation's to refuse."""
        for section, content in layer.items():
            self.places.setdefault(str(section), place)
            if content is None:  # a YAML section with every line commented out
                continue
            known = self.values.setdefault(str(section), {})
            if not isinstance(content, Mapping) or not isinstance(known, dict):
                self.values[section], self.places[section] = content, place
                continue
            if section == "model" and "depth" in content:
                for name in [n for n in known if n in SIZE_FIELDS or n.startswith("d_")]:
                    del known[name]
            for name, value in content.items():
                known[str(name)] = value
                self.places[f"{section}.{name}"] = place

    def build(self) -> Config:
        return validated(Config, self.values, lambda name: self.places.get(name, ""), _nearest)


def load_config(
    *,
    model: str | Mapping[str, Any] | None = None,
    recipe: str | None = None,
    file: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Config:
    """Builds the configuration of a run.

    Args:
        model: Preset or file that holds the `model` section, or that section itself; `tiny` when
            absent.
        recipe: Preset or file that holds how to train; `compat` when absent.
        file: Any part of the tree, laid over both.
        overrides: Dotted field to text, as typed on the command line; the strongest layer.
        base: Part of the tree under the presets: what is known of the data, say.

    Raises:
        ValueError: With one message that names field, place, value and expectation.

    Warns:
        UserWarning: If an override has no effect, as another field switches it off.
    """
    layers = _Layers()
    layers.add(base or {}, "")
    presets: tuple[tuple[PresetKind, str | Mapping[str, Any]], ...] = (
        ("model", model or DEFAULT_MODEL),
        ("recipe", recipe or DEFAULT_RECIPE),
    )
    for kind, name in presets:
        if not isinstance(name, str):
            layers.add({kind: name}, "")
            continue
        shown_as, layer = read_preset(kind, name)
        _check_sections(kind, layer, shown_as)
        layers.add(layer, f" in `{shown_as}`")
    if file is not None:
        layers.add(read_file(file, str(file)), f" in `{file}`")
    layers.add(_parse_overrides(overrides or {}), " on the command line")
    config = layers.build()
    _warn_of_idle(overrides or {}, config)
    return config


def _warn_of_idle(overrides: Mapping[str, str], config: Config) -> None:
    """Warns of overrides without effect. Files may hold more than a run uses; a flag is meant."""
    for dotted in overrides:
        section = getattr(config, dotted.partition(".")[0])
        if is_idle(dotted, section):
            other, values = NEEDS[dotted]
            actual = getattr(section, other.partition(".")[2])
            wanted = f", not {' or '.join(values)}" if values else ""
            warnings.warn(f"`{dotted}` has no effect: `{other}` is {actual}{wanted}", stacklevel=3)


def _check_sections(kind: PresetKind, layer: Mapping[str, Any], shown_as: str) -> None:
    """A model file may not train, and a recipe may not shape: else neither name means anything."""
    for section in layer:
        if section in SECTIONS and (section == "model") != (kind == "model"):
            holds = "only `model`" if kind == "model" else "everything but `model`"
            raise ValueError(
                f"`{section}` does not belong in `{shown_as}`: a {kind} file holds {holds}"
                "\nhint: pass a file that holds both as --config"
            )


def _nearest(unknown: str) -> str:
    """Hint for an unknown key: the same field in another section, else the nearest spelling."""
    leaf = unknown.rpartition(".")[2]
    for dotted in FIELDS:
        if dotted.endswith(f".{leaf}"):
            return f"\nhint: did you mean `{dotted}`?"
    return did_you_mean(unknown, FIELDS if "." in unknown else SECTIONS)


def _parse_overrides(overrides: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for dotted, text in overrides.items():
        section, _, name = dotted.partition(".")
        fields = SECTIONS[section].model_fields if section in SECTIONS else {}
        value = _parse_text(text, fields[name].annotation) if name in fields else text
        tree.setdefault(section, {})[name] = value
    return tree


def _parse_text(text: str, annotation: Any) -> Any:  # noqa: ANN401 - a type of any kind
    """Reads one value as its field's type: text stays text, a list may leave its brackets out."""
    types = (annotation, *get_args(annotation))
    if get_origin(annotation) is dict:
        return _parse_or_keep(text)
    if get_origin(annotation) is tuple:
        if str in types:  # commas are common in text: without brackets it is one item
            return _parse_or_keep(text) if text.startswith("[") else [text]
        return _parse_or_keep(text if text.startswith("[") else f"[{text}]")
    if type(None) in types and text.lower() in {"none", "null", ""}:
        return None
    if str in types or Path in types or any(isinstance(value, str) for value in types):
        return text
    return _parse_or_keep(text)


def _parse_or_keep(text: str) -> Any:  # noqa: ANN401 - any YAML value
    try:
        return parse_yaml(text)
    except YAMLError:
        return text  # validation tells what was expected instead
