"""`metrics.jsonl`: one JSON object a line, for people, plots and scripts.

    {"step": 120, "loss": 3.21, "learning_rate": 0.0003, "grad_norm": 0.8, "tokens": 491520, ...}
    {"step": 200, "val_loss": 3.05, "val_bits_per_byte": 1.21, "val_tokens": 81920}

A training line of step n describes the n-th update; its loss includes the experts' balance and z
losses, and a model with experts adds `load_statistics`. A validation line of step n describes the
weights after n updates and is written before the next one, so a run that resumes at n writes it
again. Lines are therefore cut back on resuming, and the file of a run that was killed ten times is
line for line that of a run that was not, but for its clocks.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minillm.files import named_in_errors, replace_file

Record = dict[str, Any]
Sink = Callable[[Record], None]

NAME = "metrics.jsonl"


class MetricsLog:
    """Appends to the metrics of a run.

    Attributes:
        path: The file.
        sinks: Who else gets each record.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        """Those of the run in `folder`; of processes that train together, one writes."""
        self.path, self._writes = folder / NAME, writes
        self.sinks: list[Sink] = []

    def write(self, record: Record) -> None:
        """Appends one line; whole lines only, as each goes out in one write."""
        if not self._writes:
            return
        with named_in_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for send in self.sinks:
            send(record)

    def cut_back(self, step: int) -> None:
        """Forgets what a run that resumes at `step` is going to write again."""
        if not self._writes or not self.path.exists():
            return
        kept = [record for record in read_metrics(self.path.parent) if place(record) < (step, True)]
        replace_file(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())


def read_metrics(folder: Path) -> list[Record]:
    """All lines of a run's metrics, none without a file; one that a kill cut off is left out."""
    records: list[Record] = []
    path = folder / NAME
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def place(record: Record) -> tuple[int, bool]:
    """Where it stands in the file: updates done, and whether it is of the weights after them."""
    return record["step"], "loss" not in record
