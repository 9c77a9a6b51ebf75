"""`minillm runs`: which runs there are, how far they came, and in what they differ.

    minillm runs
    minillm runs runs/a runs/b --diff --plot losses.png

It reads what the runs write down, also while they train. PyTorch is not imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from minillm import messages
from minillm.config import Config, load_config
from minillm.config.load import FIELDS
from minillm.plan import describe
from minillm.track.lock import RunLock
from minillm.track.metrics import NAME, Record, read_metrics
from minillm.track.plots import draw_overlay
from minillm.track.processes import read_processes

app = App(name="runs", help="List and compare runs.", version_flags=[])


@app.default
def main(
    *folders: Path,
    diff: Annotated[bool, Parameter(negative="")] = False,
    plot: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """List and compare runs, the best first.

    Args:
        folders: Runs, or folders with runs in them at any depth; ./runs when absent.
        diff: Add the fields of the configuration in which they differ.
        plot: PNG file to draw their losses into, over one another.
        as_json: Print plain numbers as JSON.
    """
    runs, found = [], _find(folders or (Path("runs"),))
    for folder in found:
        try:
            config, records = load_config(file=folder / "config.yaml"), read_metrics(folder)
            runs.append((config, records, _summary(folder, config, records)))
        except (ValueError, OSError, LookupError, TypeError, AttributeError) as error:
            messages.say(f"warning: `{folder}` is left out: {messages.describe(error)}")
    runs.sort(key=lambda run: [run[2][name] or inf for name in ("val_bits_per_byte", "val_loss")])
    rows = [row for _, _, row in runs]
    for field in FIELDS if diff else ():
        values = [attrgetter(field)(config) for config, _, _ in runs]
        if field != "train.out_dir" and any(value != values[0] for value in values):
            for row, value in zip(rows, values, strict=True):
                row[field] = value
    if plot:
        draw_overlay(plot, {row["run"]: records for _, records, row in runs})
    if as_json:
        print(json.dumps(rows, indent=1, default=str))  # noqa: T201  the data of this verb
    elif rows:
        _print_table(rows)
    return 0 if len(rows) == len(found) else messages.EXIT_FAILED


def _find(folders: Iterable[Path]) -> list[Path]:
    """Folders that have a run's configuration or metrics; checkpoints have the former, too."""
    names = ("config.yaml", NAME)
    files = [path for folder in folders for name in names for path in folder.rglob(name)]
    if not files:
        raise ValueError(f"no run in {', '.join(f'`{folder}`' for folder in folders)}")
    return sorted({path.parent for path in files if not path.parent.name.startswith("step-")})


def _summary(folder: Path, config: Config, records: list[Record]) -> dict[str, Any]:
    """What a run came to, by names that end in their units."""
    newest = next((record for record in reversed(records) if "loss" in record), {})
    validation = next((record for record in reversed(records) if "val_loss" in record), {})
    is_done = newest.get("step", 0) >= config.train.max_train_steps
    processes = list(read_processes(folder))
    validates = any("val" in process.get("hashes", {}) for process in processes)
    is_done = is_done and (not validates or validation.get("final", False))
    return {
        "run": str(folder),
        "parameters": next((process["parameters"] for process in processes), None),
        "steps": newest.get("step", 0),
        "tokens": newest.get("tokens", 0),
        "val_loss": validation.get("val_loss"),
        "val_bits_per_byte": validation.get("val_bits_per_byte"),
        "learning_rate": config.optim.learning_rate,
        "elapsed_s": newest.get("elapsed_s", 0.0),
        "status": "running" if RunLock.is_held(folder) else "complete" if is_done else "stopped",
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    cells = [list(rows[0]), *([_text(name, row[name]) for name in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(map(str.ljust, line, widths)).rstrip())  # noqa: T201  the data of this verb


def _text(name: str, value: Any) -> str:  # noqa: ANN401  of any field
    if value is None:
        return "-"
    if name.startswith("val_"):
        return f"{value:.4f}"
    return describe(name, value)[1] if name in ("parameters", "tokens", "elapsed_s") else str(value)


if __name__ == "__main__":
    sys.exit(messages.run(app))
