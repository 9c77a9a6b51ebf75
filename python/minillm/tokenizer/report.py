"""What a command says when it is done: a table for people, or JSON for machines."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import TypeAlias

from minillm import _core

Value: TypeAlias = int | float | str | list[str] | None
Report: TypeAlias = dict[str, Value]

EXAMPLES = 8


def train_report(trained: _core.Trained, out: Path, *, elapsed_s: float) -> Report:
    """What was learned, from how much text, in which time."""
    bpe = trained.bpe
    merges = bpe.merges()
    longest = sorted((left + right for left, right in merges), key=lambda t: (-len(t), t))
    every = max(len(merges) // EXAMPLES, 1)
    return {
        "tokenizer": str(out),
        "vocabulary": len(bpe),
        "merges": len(merges),
        "bytes": trained.corpus_bytes,
        "pre_tokens": trained.pre_tokens,
        "distinct_pre_tokens": trained.distinct_pre_tokens,
        "tokens": trained.corpus_tokens,
        "bytes_per_token": trained.corpus_bytes / max(trained.corpus_tokens, 1),
        "longest_tokens": [readable(token) for token in longest[:EXAMPLES]],
        "sample_merges": [f"{readable(a)} + {readable(b)}" for a, b in merges[::every][:EXAMPLES]],
        "stopped_early": trained.stopped_early,
        **_cost(elapsed_s),
    }


def encode_report(encoded: _core.Encoded, *, elapsed_s: float) -> Report:
    """What was written, from how much text, in which time."""
    shards = {"train": encoded.train} | ({"val": encoded.val} if encoded.val else {})
    tokens = sum(shard.tokens for shard in shards.values())
    report: Report = {"bytes": encoded.corpus_bytes, "dtype": encoded.train.dtype}
    for name, shard in shards.items():
        report |= {
            name: str(shard.path),
            f"{name}_tokens": shard.tokens,
            f"{name}_documents": shard.documents,
            f"{name}_bytes": shard.bytes,
        }
    return report | {
        "blank_documents": encoded.blank_documents,
        "bytes_per_token": encoded.corpus_bytes / tokens,
        **_cost(elapsed_s),
    }


def readable(token: bytes) -> str:
    """A token as one would write it in Python, so that its spaces and broken characters show."""
    try:
        return repr(token.decode())
    except UnicodeDecodeError:
        return repr(token)


def show(report: Report, *, as_json: bool, quiet: bool) -> None:
    """Prints `report`: as JSON on stdout, or as a table on stderr, or not at all."""
    if as_json:
        print(json.dumps(report))  # noqa: T201  stdout is for data
    elif not quiet:
        _table(report)


def _cost(elapsed_s: float) -> Report:
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"elapsed_s": round(elapsed_s, 3), "peak_memory_bytes": peak}


def _table(report: Report) -> None:
    from rich.console import Console  # noqa: PLC0415  a quiet command does without it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(show_header=False, box=None)
    for name, value in report.items():
        if value is not None:
            table.add_row(name.replace("_", " "), Text(_cell(name, value)))
    Console(stderr=True).print(table)


def _cell(name: str, value: Value) -> str:
    match value:
        case list():
            return "  ".join(value)
        case int() if name.endswith("bytes"):
            return f"{value / 1e6:,.1f} MB"
        case float():
            return f"{value:,.2f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)
