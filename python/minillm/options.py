"""Configuration fields as command-line options, for every verb that has a configuration.

A verb declares its own options to the parser and takes all other words here: `--section.field
value` for any field of the tree, and the short names that people know. They stay text; the
configuration parses them, by the type of their field, with the message that a file would get.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from cyclopts import App, Parameter

from minillm.config import SHORT_FLAGS, Config, load_config
from minillm.config.load import FIELDS, SECTIONS
from minillm.config.messages import did_you_mean
from minillm.messages import UsageError

_INDENT = 33
"""Column where the descriptions begin."""


def parse_fields(words: Sequence[str], app: App) -> dict[str, str]:
    """Dotted field names and their values, from the words that no option of the verb has taken.

    `--a.b value`, `--a.b=value`, and `--compile` or `--no-compile` for fields that are true or
    false. Dashes and underscores are the same.

    Args:
        words: The command line without the verb's own options.
        app: The verb, so that a typo of an option of its own can be told what it is near to.

    Raises:
        UsageError: For an unknown name, a name without its value, or a stray word.
    """
    overrides: dict[str, str] = {}
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        name, has_value, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise UsageError(f"unexpected word `{word}`, expected an option such as --seed")
        field = _field(name, app)
        is_switch = _is_switch(field)
        if is_switch and has_value and name.startswith("no-"):
            raise UsageError(f"option `--{name}` takes no value, it is `{value}`")
        if is_switch and not has_value:
            value = "false" if name.startswith("no-") else "true"
        elif not has_value:
            if not waiting or waiting[-1].startswith("--"):
                raise UsageError(f"option `--{name}` needs a value")
            value = waiting.pop()
        overrides[field] = value
    return overrides


def usable_config(**parts: Any) -> Config:  # noqa: ANN401  what `load_config` takes
    """What `load_config` builds; what it refuses is wrong usage."""
    try:
        return load_config(**parts)
    except ValueError as error:
        raise UsageError(str(error)) from error


def configured_app(name: str) -> App:
    """The command of a verb that has a configuration, which its help describes."""
    return App(
        name=name,
        default_parameter=Parameter(negative=()),
        help_epilogue=_describe_short_flags(),
        help_format="plaintext",
        version_flags=[],
    )


def _describe_short_flags() -> str:
    """A table of the short names, each described by its field."""
    rows = []
    for flag, dotted in SHORT_FLAGS.items():
        section, _, field = dotted.partition(".")
        description = SECTIONS[section].model_fields[field].description
        shown = f"--{flag}/--no-{flag}" if _is_switch(dotted) else f"--{flag}"
        first, *rest = textwrap.wrap(f"{dotted}: {description}", 78 - _INDENT)
        rows.append(f"  {shown:<{_INDENT - 2}}{first}")
        rows.extend(" " * _INDENT + line for line in rest)
    return (
        "Short names of configuration fields:\n" + "\n".join(rows) + "\n\n"
        "Any other field by its dotted name: --optim.momentum 0.9, --model.n_layers 8\n"
    )


def _field(name: str, app: App) -> str:
    """The field that an option stands for."""
    dotted = name.replace("-", "_")
    if dotted in FIELDS:
        return dotted
    short = name.replace("_", "-")
    if short in SHORT_FLAGS:
        return SHORT_FLAGS[short]
    switched = SHORT_FLAGS.get(short.removeprefix("no-"), "")
    if short.startswith("no-") and switched and _is_switch(switched):
        return switched
    leaves = [field for field in FIELDS if field.endswith(f".{dotted}")]
    if leaves:  # the name alone would be ambiguous one day
        hint = f"\nhint: did you mean `--{leaves[0]}`?"
    else:
        own = [option.name.removeprefix("--") for option in app.assemble_argument_collection()]
        known = FIELDS if "." in name else [*SHORT_FLAGS, *own]
        hint = did_you_mean(dotted if "." in name else short, known).replace("`", "`--", 1)
    raise UsageError(f"unknown option `--{name}`{hint}")


def _is_switch(dotted: str) -> bool:
    section, _, field = dotted.partition(".")
    return SECTIONS[section].model_fields[field].annotation is bool
