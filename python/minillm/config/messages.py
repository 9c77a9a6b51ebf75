"""One house-style message for whatever is wrong with a configuration."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Schema = TypeVar("Schema", bound=BaseModel)

Tell = Callable[[str], str]
"""Something in words about a field, which is named by its dotted name."""

_FILE = resources.files("minillm.config") / "messages.yaml"
_EXPECTED: dict[str, str] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))

_CONSEQUENCES = ("default_factory_not_called",)
"""Errors that only follow from another one."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint line that names the nearest of `known`, or nothing if none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"\nhint: did you mean `{nearest[0]}`?" if nearest else ""


def validated(
    schema: type[Schema],
    values: Mapping[str, Any],
    where: Tell = lambda _: "",
    hint: Tell = lambda _: "",
) -> Schema:
    """The settings that `values` are; `where` and `hint` as for `format_validation_error`.

    Raises:
        ValueError: With one line for each mistake.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ValueError(format_validation_error(error, where, hint)) from error


def format_validation_error(
    error: ValidationError, where: Tell = lambda _: "", hint: Tell = lambda _: ""
) -> str:
    """Turns pydantic's report into one line per mistake: field, place, value, expectation.

    Args:
        error: What `model_validate` raised.
        where: Tells where a field, by its dotted name, got its value: " in `a.yaml`", or nothing.
        hint: Tells, on a line of its own, what may be meant by a name that is not known.
    """
    return "\n".join(
        _format_one(details, where, hint)
        for details in map(dict, error.errors(include_url=False))
        if details["type"] not in _CONSEQUENCES
    )


def _format_one(details: Mapping[str, Any], where: Tell, hint: Tell) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    # A field's name, and for lists the position in it: `optim.betas[1]`.
    field = ".".join(part for part in details["loc"] if isinstance(part, str))
    shown = field + "".join(f"[{part}]" for part in details["loc"] if isinstance(part, int))
    if kind == "extra_forbidden":
        return f"unknown key `{shown}`{where(field)}{hint(field)}"
    if kind == "missing":
        return f"`{shown}`{where(field)} is missing"
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else details["msg"]
    if kind == "literal_error":
        expected = expected.replace("'", "").replace(" or ", ", ")
    return f"`{shown}`{where(field)} is {details['input']!r}, expected {expected}"
