"""What fields do to one another, by `rules.yaml`: which values clash, and which fields idle.

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
