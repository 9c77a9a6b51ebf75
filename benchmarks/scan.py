"""How fast is text cut into pre-tokens, by each published pattern and each way to scan?

The measuring is done by `rust/minillm-bpe/benches/scan.rs`, on one thread: gigabytes a second of
the scan alone, without counting or reading. The scalar scanner is the yardstick of the others:
that all ways find the same number of pre-tokens is checked here, that they find the same ones by
the crate's tests.

    python benchmarks/scan.py FILE... [--out RESULT]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from cyclopts import App

import harness
from harness import RESULTS

ROOT = Path(__file__).parents[1]
BENCH = ("cargo", "bench", "--quiet", "--package=minillm-bpe", "--bench=scan", "--")

Row: TypeAlias = dict[str, Any]
"""One file, pattern and way: `gb_per_s` (median, min, max) and `pre_tokens`."""

app = App(name="scan")


@app.default
def main(*files: Path, out: Path = RESULTS / "scan.json") -> int:
    """Measures every pattern and way on each file.

    Args:
        files: Texts, such as prose in several languages.
        out: File of the result.
    """
    if not files:
        print("error: no file is named, expected at least one text", file=sys.stderr)
        return 2
    rows = measure(files)
    if message := disagreement(rows):
        print(f"error: {message}", file=sys.stderr)
        return 1
    result = {
        "question": "cut text into pre-tokens, one thread",
        "machine": harness.machine(),
        "rustc": subprocess.check_output(["rustc", "--version"], text=True, cwd=ROOT).strip(),
        "corpora": [harness.describe_corpus(file) for file in files],
        "scans": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(rows))
    return 0


def measure(files: Sequence[Path]) -> list[Row]:
    """Runs the bench; its lines, each file by its bare name."""
    command = [*BENCH, *(str(file.resolve()) for file in files)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[Row] = [json.loads(line) for line in done.stdout.splitlines()]
    return [{**row, "file": Path(row["file"]).name} for row in rows]


def disagreement(rows: Iterable[Row]) -> str | None:
    """Names the first file and pattern of which two ways made different numbers of pre-tokens."""
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        count = found.setdefault((row["file"], row["pattern"]), row["pre_tokens"])
        if count != row["pre_tokens"]:
            return (
                f"`{row['file']}`, {row['pattern']}: {row['path']} makes {row['pre_tokens']} "
                f"pre-tokens, expected {count}"
            )
    return None


def table(rows: Sequence[Row]) -> str:
    """A line for each file and pattern: the median in GB/s of each way, slowest first.

    Behind each but the first stands how many times as fast it is as the one before.
    """
    paths = list(dict.fromkeys(row["path"] for row in rows))
    rates = {(row["file"], row["pattern"], row["path"]): row["gb_per_s"]["median"] for row in rows}
    lines = [
        "| GB/s | pattern | " + " | ".join(paths) + " |",
        "| --- | --- |" + " ---: |" * len(paths),
    ]
    for file, pattern in dict.fromkeys((row["file"], row["pattern"]) for row in rows):
        own = [rates[file, pattern, path] for path in paths]
        cells = [
            f"{rate:.2f}" + (f" ({rate / own[i - 1]:.2f}x)" if i else "")
            for i, rate in enumerate(own)
        ]
        lines.append(f"| {file} | {pattern} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(app())
