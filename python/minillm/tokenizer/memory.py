"""Amounts of memory as people write them: `500MB`, `2GiB`, or plain bytes."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, TypeAlias

from cyclopts import Parameter, Token


def parse_memory(text: str) -> int:
    """The bytes that `text` means; a kilobyte is 1000 of them, and a kibibyte 1024.

    Raises:
        ValueError: If it is no such amount, or 2^64 bytes and more.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i)?)?b?", text.strip().lower(), re.ASCII)
    if match is None:
        raise ValueError(f"`{text}` is no amount of memory, expected one such as 500MB or 2GiB")
    kilo = 1024 if match[3] else 1000
    n_bytes = int(Decimal(match[1]) * kilo ** " kmgt".index(match[2] or " "))
    if n_bytes >= 1 << 64:
        raise ValueError(f"`{text}` is more memory than there is")
    return n_bytes


def _convert(_: type, tokens: Sequence[Token]) -> int:
    return parse_memory(tokens[0].value)


Memory: TypeAlias = Annotated[int, Parameter(converter=_convert, n_tokens=1)]
