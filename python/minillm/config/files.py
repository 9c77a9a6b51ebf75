"""Configuration files: YAML or JSON, read as data and never as code."""

import json
import re
from collections.abc import Hashable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import yaml

from minillm.config.messages import did_you_mean
from minillm.config.tree import Config

PresetKind = Literal["model", "recipe"]

FILE_SUFFIXES = (".yaml", ".yml", ".json")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with two of its traps closed: `3e-4` is a float, and a key may not come twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key `{key}` comes twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 wants a dot in a float and so reads `3e-4` as text; JSON and YAML 1.2 do not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """The value that a piece of YAML stands for, `3e-4` being a float."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def read_file(path: Path | Traversable, shown_as: str) -> dict[str, Any]:
    """Reads a YAML or JSON file that holds one mapping.

    An empty file is an empty mapping.

    Raises:
        ValueError: If the file is missing, unreadable, malformed, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ValueError(f"cannot read `{shown_as}`: {reason}") from error
    try:
        value = json.loads(text) if path.name.endswith(".json") else parse_yaml(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"`{shown_as}`, line {error.lineno}: {error.msg.lower()}") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"`{shown_as}`{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"`{shown_as}`: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(
            f"`{shown_as}` holds a {type(value).__name__}, expected a mapping of sections"
        )
    return value


def list_presets(kind: PresetKind) -> list[str]:
    """Names that `--model` or `--recipe` knows, in alphabetical order."""
    folder = resources.files("minillm.config") / "presets" / kind
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def read_preset(kind: PresetKind, name: str) -> tuple[str, Mapping[str, Any]]:
    """Reads a preset by its name, or a file by its path, and tells how messages name it.

    Raises:
        ValueError: If there is no such preset, or the file is no good.
    """
    if name.endswith(FILE_SUFFIXES) or "/" in name or "\\" in name:
        return name, read_file(Path(name), name)
    known = list_presets(kind)
    if name not in known:
        raise ValueError(
            f"unknown {kind} preset `{name}`, expected one of {', '.join(known)} or a file"
            + did_you_mean(name, known)
        )
    shown_as = f"presets/{kind}/{name}.yaml"
    return shown_as, read_file(resources.files("minillm.config") / shown_as, shown_as)


def dump_yaml(config: Config) -> str:
    """The whole tree as YAML, every field spelled out; reads back as an equal tree."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
