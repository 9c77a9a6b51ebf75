"""Shows result files as tables, and keeps the README's tables equal to them.

    python benchmarks/tables.py [--check]

What stands in README.md between the lines `<!-- benchmarks/results/NAME.json -->` and
`<!-- end -->` is made from that file and never written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from cyclopts import App

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(<!-- (?P<file>benchmarks/results/[\w.-]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL
)
SHOWN = {
    "wall_s": "time",
    "cpu_s": "CPU time",
    "peak_rss_bytes": "peak memory",
    "first_s": "first call",
    "warm_s": "warm",
}

app = App(name="tables")


@app.default
def main(*, check: bool = False) -> int:
    """Renews the tables of README.md from benchmarks/results.

    Args:
        check: Change nothing; exit with 1 if a table is not up to date.
    """
    readme = ROOT / "README.md"
    text = readme.read_text()
    renewed = renew(text)
    if check and renewed != text:
        print("README.md: a table differs from benchmarks/results", file=sys.stderr)
        return 1
    if not check:
        readme.write_text(renewed)
    return 0


def renew(text: str) -> str:
    """`text` with each block made anew from its result file; one without a file stays."""

    def renewed(block: re.Match[str]) -> str:
        file = ROOT / block["file"]
        return block[1] + table(file) + block[3] if file.exists() else block[0]

    return BLOCK.sub(renewed, text)


def table(path: Path) -> str:
    """A result file as a Markdown table, with a line that says what was measured on what."""
    result = json.loads(path.read_text())
    rows: dict[str, dict[str, Any]] = result["contenders"]
    keys = [key for key in SHOWN if all(key in row for row in rows.values())]
    lines = [
        "| | " + " | ".join(SHOWN[key] for key in keys) + " |",
        "| --- |" + " ---: |" * len(keys),
    ]
    for name, row in rows.items():
        label = name if row["package"] == "minillm" else f"{name} {row['version']}"
        cells = [cell(key, row[key], result["corpus"]["bytes"]) for key in keys]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", caption(result), ""])


def cell(key: str, numbers: dict[str, float], corpus_bytes: int) -> str:
    """One median; wall times also with their range and as a rate."""
    if key.endswith("_bytes"):
        return f"{numbers['median'] / 1e6:,.0f} MB"
    median, low, high = (f"{numbers[key]:.3g}" for key in ("median", "min", "max"))
    if key == "cpu_s":
        return f"{median} s"
    rate = corpus_bytes / 1e6 / numbers["median"]
    return f"{median} s ({low} to {high}), {rate:,.0f} MB/s"


def caption(result: dict[str, Any]) -> str:
    """What was measured, on what text, how often, on which machine."""
    machine, corpus = result["machine"], result["corpus"]
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    return (
        f"To {result['question']}: `{corpus['name']}` ({corpus['bytes'] / 1e6:,.0f} MB), "
        f"{threads}, medians of {result['repeats']} interleaved runs "
        f"(lowest to highest) on {machine['cores']} cores of {machine['cpu']}, "
        f"Python {machine['python']}."
    )


if __name__ == "__main__":
    sys.exit(app())
