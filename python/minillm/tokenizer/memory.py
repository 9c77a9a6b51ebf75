"""Amounts of memory as people write them: `500MB`, `2GiB`, or plain bytes."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, TypeAlias

from cyclopts import Parameter, Token

_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_FACTORS = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


def parse_memory(text: str) -> int:
    """The bytes that `text` means; a kilobyte is 1000 of them, and a kibibyte 1024.

    Raises:
        ValueError: If it is no such amount, or 2^64 bytes and more.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"`{text}` is no amount of memory, expected one such as 500MB or 2GiB")
    unit = (match[2] or "").lower()
    n_bytes = int(Decimal(match[1]) * (_FACTORS | _BINARY_FACTORS)[unit])
    if n_bytes >= 1 << 64:
        raise ValueError(f"`{text}` is more memory than there is")
    return n_bytes


def _convert(_: type, tokens: Sequence[Token]) -> int:
    return parse_memory(tokens[0].value)


Memory: TypeAlias = Annotated[int, Parameter(converter=_convert, n_tokens=1)]
