"""What a command says when it is done: JSON for machines, or a table for people.

A report is a flat mapping; its keys are what programs read. For people, `_LABELS` gives some keys
other words, numbers get their units, and a list of mappings becomes a table in the table. Written
without a library: it costs nothing to import, and a pipe gets the same lines as a terminal.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO, TypeAlias

from minillm import _core

Cell: TypeAlias = int | float | str | None
Row: TypeAlias = dict[str, Cell]
Report: TypeAlias = dict[str, Any]
"""Of cells, lists of texts, and lists of rows."""

LONGEST = 8
TOKEN_CHARACTERS = 32
MIN_WIDTH = 40

_NAMES = ("id", "rank")  # numbers that nobody adds up

_LABELS = {
    "bytes": "text read",
    "text_bytes": "ordinary text",
    "elapsed_s": "time",
    "peak_memory_bytes": "peak memory",
    "bytes_per_token": "bytes/token",
    "held_out_text_bytes": "held-out text",
    "held_out_tokens": "held-out tokens",
    "held_out_bytes_per_token": "held-out bytes/token",
    "pre_tokens": "pre-tokens",
    "distinct_pre_tokens": "distinct pre-tokens",
}


def spilled(result: _core.CountReport | _core.Trained) -> Report:
    """What went to disk because memory was bounded, if anything did."""
    facts = {"spills": result.spills, "spilled_bytes": result.spilled_bytes}
    return facts if result.spills else {}


def cost(began: float) -> Row:
    """What every report ends with; `began` is a time of `time.monotonic`."""
    elapsed_s = round(time.monotonic() - began, 3)
    return {"elapsed_s": elapsed_s, "peak_memory_bytes": _core.peak_memory_bytes()}


def readable(token: bytes) -> str:
    """A token as one would write it in Python, so that its spaces and broken characters show.

    A long one is cut: some are rules of thousands of dashes.
    """
    try:
        text = repr(token.decode())
    except UnicodeDecodeError:
        text = repr(token)
    return text if len(text) <= TOKEN_CHARACTERS else f"{text[: TOKEN_CHARACTERS - 4]}...{text[-1]}"


def longest_tokens(bpe: _core.Bpe) -> list[str]:
    """The longest tokens that merges make, longest first."""
    return [readable(token) for token in bpe.longest_tokens(LONGEST)]


def merge_rows(bpe: _core.Bpe, ranks: Iterable[int]) -> list[Row]:
    """The merges of these ranks: rank, id, count if it is known, what was merged."""
    merges, counts = bpe.merges, bpe.merge_counts
    return [
        {
            "rank": rank,
            "id": bpe.token_id(left + right),
            "count": counts[rank] if counts else None,
            "pair": f"{readable(left)} + {readable(right)}",
        }
        for rank, (left, right) in ((rank, merges[rank]) for rank in ranks)
    ]


def show(report: Report, *, as_json: bool, quiet: bool = False, data: bool = False) -> None:
    """Prints `report`: as JSON on stdout; or as a table, on stderr unless it is data, or not."""
    if as_json:
        print(json.dumps(report))  # noqa: T201  stdout is for data
    elif not quiet:
        print_table(report, sys.stdout if data else sys.stderr)


def print_table(report: Report, stream: TextIO) -> None:
    """Prints `report` for people, no wider than the terminal."""
    width = max(shutil.get_terminal_size().columns, MIN_WIDTH)
    rows = {name: value for name, value in report.items() if value not in (None, [])}
    indent = max(len(_label(name)) for name in rows) + 2
    for name, value in rows.items():
        if isinstance(value, list) and isinstance(value[0], dict):
            lines = [_label(name), *(f"  {line}" for line in _nested(value, width - 2))]
        else:
            texts = value if isinstance(value, list) else [_cell(name, value)]
            first, *others = _wrapped(texts, width - indent)
            lines = [f"{_label(name):<{indent}}{first}"] + [" " * indent + line for line in others]
        print("\n".join(lines), file=stream)


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))


def _wrapped(items: Sequence[str], width: int) -> list[str]:
    """As many items in a line as there is room for; none is broken."""
    lines = [items[0]]
    for item in items[1:]:
        longer = f"{lines[-1]}  {item}"
        lines[-1:] = [longer] if len(longer) <= width else [lines[-1], item]
    return lines


def _nested(rows: Sequence[Row], width: int) -> list[str]:
    """One line for each row under a line of names; numbers to the right, the last column as is."""
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    cells = [[_label(name) for name in names]]
    cells += [[_cell(name, row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names) - 1)]
    lines = []
    for line in cells:
        numbers = [f"{cell:>{room}}" for cell, room in zip(line, widths, strict=False)]
        text = "  ".join([*numbers, line[-1]])
        lines.append(text if len(text) <= width else f"{text[: width - 3]}...")
    return lines


def _cell(name: str, value: Cell) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.2f}" + (" s" if name.endswith("_s") else "")
        case int() if name.endswith("bytes"):
            return size(value)
        case int() if name not in _NAMES:
            return f"{value:,}"
        case _:
            return str(value)


def size(n_bytes: int) -> str:
    """A number of bytes in the unit that suits it."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:,.1f} {name}"
    return f"{n_bytes} bytes"
