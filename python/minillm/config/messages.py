"""One house-style message for whatever is wrong with a configuration."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "model_type": "a mapping of fields",
}

_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

_CONSEQUENCES = ("default_factory_not_called",)
"""Errors that only follow from another one."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint line that names the nearest of `known`, or nothing if none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"\nhint: did you mean `{nearest[0]}`?" if nearest else ""


def format_validation_error(
    error: ValidationError, where: Callable[[str], str] = lambda _: ""
) -> str:
    """Turns pydantic's report into one line per mistake: field, place, value, expectation.

    Args:
        error: What `model_validate` raised.
        where: Tells where a field, by its dotted name, got its value: " in `a.yaml`", or nothing.
    """
    return "\n".join(
        _format_one(details, where)
        for details in map(dict, error.errors(include_url=False))
        if details["type"] not in _CONSEQUENCES
    )


def _format_one(details: Mapping[str, Any], where: Callable[[str], str]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    # A field's name, and for lists the position in it: `optim.betas[1]`.
    field = ".".join(part for part in details["loc"] if isinstance(part, str))
    shown = field + "".join(f"[{part}]" for part in details["loc"] if isinstance(part, int))
    if kind == "extra_forbidden":
        return f"unknown key `{shown}`{where(field)}"
    if kind == "missing":
        return f"`{shown}`{where(field)} is missing"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        expected = f"{words} {context[key]:g}"
    elif kind == "literal_error":
        expected = f"one of {context['expected']}".replace("'", "").replace(" or ", ", ")
    elif kind == "too_long":
        expected = f"{context['max_length']} values"
    else:
        expected = _EXPECTED.get(kind, details["msg"])
    return f"`{shown}`{where(field)} is {details['input']!r}, expected {expected}"
