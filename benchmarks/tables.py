"""Shows result files as tables, and keeps the tables of the documents equal to them.

    python benchmarks/tables.py [--check]

What stands in README.md and benchmarks/README.md between the lines
`<!-- benchmarks/results/NAME.json -->` and `<!-- end -->` is made from that file, or from all whose
names fit if there is a `*` in it, and never written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from cyclopts import App

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
BLOCK = re.compile(
    r"(<!-- (?P<files>benchmarks/results/[\w.*-]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL
)
SHOWN = {
    "wall_s": "time",
    "cpu_s": "CPU time",
    "peak_rss_bytes": "peak memory",
    "held_bytes": "beyond idle",
    "spills": "spills",
    "first_s": "first call",
    "warm_s": "warm",
}

app = App(name="tables")


@app.default
def main(*, check: bool = False) -> int:
    """Renews the tables of README.md and benchmarks/README.md from benchmarks/results.

    Args:
        check: Change nothing; exit with 1 if a table is not up to date.
    """
    stale = []
    for document in DOCUMENTS:
        text = document.read_text()
        renewed = renew(text)
        if renewed != text:
            stale.append(document.relative_to(ROOT))
            if not check:
                document.write_text(renewed)
    if check and stale:
        for name in stale:
            print(f"{name}: a table differs from benchmarks/results", file=sys.stderr)
        return 1
    return 0


def renew(text: str) -> str:
    """`text` with each block made anew from its result files, in the order of their names."""

    def renewed(block: re.Match[str]) -> str:
        files = sorted(ROOT.glob(block["files"]))
        tables = "\n".join(table(file) for file in files) or "Not measured yet.\n"
        return block[1] + tables + block[3]

    return BLOCK.sub(renewed, text)


def table(path: Path) -> str:
    """A result file as a Markdown table, with a line that says what was measured on what.

    Of a result that names a baseline, the times over the baseline's have a column too.
    """
    result = json.loads(path.read_text())
    if "cells" in result:
        return cells_table(result)
    rows: dict[str, dict[str, Any]] = result["contenders"]
    keys = [key for key in SHOWN if any(key in row for row in rows.values())]
    baseline = rows.get(result.get("baseline"))
    titles = [SHOWN[key] for key in keys]
    if baseline:
        titles.insert(1, f"over {result['baseline']}")
    lines = ["| | " + " | ".join(titles) + " |", "| --- |" + " ---: |" * len(titles)]
    for name, row in rows.items():
        label = name if row["package"] == "minillm" else f"{name} {row['version']}"
        cells = [cell(key, row.get(key), work_of(result, row)) for key in keys]
        if baseline:
            ratio = row["wall_s"]["median"] / baseline["wall_s"]["median"]
            cells.insert(1, f"{ratio:.3g}x")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", caption(result), ""])


def work_of(result: dict[str, Any], row: dict[str, Any]) -> tuple[float, str]:
    """How much a contender did, and of what: what its rate is counted in."""
    if "written" in row:
        return row["written"], "tokens"
    return result["corpus"]["bytes"] / 1e6, "MB"


def cells_table(result: dict[str, Any]) -> str:
    """Milliseconds of everyone in every cell, and how many times the best rival's speed ours is."""
    cells: dict[str, dict[str, Any]] = result["cells"]
    versions = {
        name: row["version"]
        for found in cells.values()
        for name, row in found["contenders"].items()
    }
    titles = [name if name == "minillm" else f"{name} {versions[name]}" for name in versions]
    lines = ["| | " + " | ".join([*titles, "times as fast"]) + " |"]
    lines.append("| --- |" + " ---: |" * (len(titles) + 1))
    for label, found in cells.items():
        rows = found["contenders"]
        shown = [
            f"{1e3 * rows[name]['wall_s']['median']:.3g} ms" if name in rows else "failed"
            for name in versions
        ]
        ratio = f"{found['times_as_fast']:.3g}x" if "times_as_fast" in found else ""
        lines.append(f"| {label} | " + " | ".join([*shown, ratio]) + " |")
    machine = result["machine"]
    said = (
        f"To {result['question']}: {result['text_bytes']:,} bytes each, 1 thread, medians of"
        f" {result['repeats']} interleaved processes with {result['calls']} calls each, on"
        f" {machine['cpu']}, Python {machine['python']}; over the faster rival."
    )
    return "\n".join([*lines, "", said, ""])


def cell(key: str, numbers: dict[str, float] | None, work: tuple[float, str]) -> str:
    """One median; wall times also with their range and as a rate."""
    if numbers is None:
        return ""
    if key == "spills":
        return f"{numbers['median']:.0f}"
    if key.endswith("_bytes"):
        return f"{numbers['median'] / 1e6:,.0f} MB"
    median, low, high = (f"{numbers[key]:.3g}" for key in ("median", "min", "max"))
    if key == "cpu_s":
        return f"{median} s"
    amount, unit = work
    return f"{median} s ({low} to {high}), {amount / numbers['median']:,.0f} {unit}/s"


def caption(result: dict[str, Any]) -> str:
    """What was measured, on what text, how often, on which machine."""
    machine, corpus = result["machine"], result.get("corpus")
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    fewer = [
        f"{len(row['wall_s']['samples'])} of {name}"
        for name, row in result["contenders"].items()
        if "wall_s" in row and len(row["wall_s"]["samples"]) < result["repeats"]
    ]
    failed = [f"{name} failed" for name in result.get("failed", {})]
    exceptions = f" ({', '.join([*fewer, *failed])})" if fewer or failed else ""
    text = f"`{corpus['name']}` ({corpus['bytes'] / 1e6:,.0f} MB), " if corpus else ""
    return (
        f"To {result['question']}: {text}"
        f"{threads}, medians of {result['repeats']} interleaved runs{exceptions} "
        f"(lowest to highest) on {machine['cores']} cores of {machine['cpu']}, "
        f"Python {machine['python']}."
    )


if __name__ == "__main__":
    sys.exit(app())
