"""What holds of fields beside their types, by `rules.yaml`: which clash, which idle, which stay.

Data, because a reader who wants to know what goes with what should find it in one place, and none
of it is arithmetic: a condition is a value, a list of values, `{not: VALUE}` or `{above: FIELD}`.
"""

from importlib import resources
from operator import attrgetter
from typing import Any

import yaml
from pydantic import BaseModel

_RULES = yaml.safe_load((resources.files("minillm.config") / "rules.yaml").read_text("utf-8"))

NEEDS: dict[str, tuple[str, list[str]]] = {
    f"{other.partition('.')[0]}.{name}": (other, values)
    for rule in _RULES["idle"]
    for other, values in rule["unless"].items()
    for name in rule["fields"].split()
}
"""Fields that only act while another one has one of these values, or, without any, is not 0."""

SHORT_FLAGS: dict[str, str] = {"data": "data.path"} | {
    name.replace("_", "-"): f"{section}.{name}"
    for section, names in _RULES["flags"].items()
    for name in names.split()
}
"""Flags that people know, each a name of a field."""

FIXED: list[str] = _RULES["fixed"].split()
"""What a resumed run cannot change; the file says what else."""

CHANGEABLE: list[str] = _RULES["changeable"].split()
"""Fields of `model` that can change in a trained one."""


def refusal(section: BaseModel) -> str | None:
    """Why a section, or the whole tree, cannot be; nothing if it can."""
    for rule in _RULES["refused"].get(type(section).__name__, ()):
        if all(_holds(section, *condition) for condition in rule["when"].items()):
            return str(rule["message"].format(**dict(section)))
    return None


def is_idle(dotted: str, section: BaseModel) -> bool:
    """Whether another field of its section switches this one off."""
    if dotted not in NEEDS:
        return False
    other, values = NEEDS[dotted]
    actual = getattr(section, other.partition(".")[2])
    return actual not in values if values else not actual


def _holds(section: BaseModel, field: str, condition: Any) -> bool:  # noqa: ANN401  as in the file
    value = attrgetter(field)(section)
    match condition:
        case {"not": other}:
            return bool(value != other)
        case {"above": other}:
            return value is not None and value > attrgetter(other)(section)
        case list():
            return value in condition
    return bool(value == condition)
