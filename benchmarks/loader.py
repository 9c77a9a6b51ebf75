"""How much of a training step is waiting for its data?

The model is TinyStories' of 17M parameters (`tinystories-17m`), on a CPU, and learns from random
ids of 16 bits in a file of 64 MB. Rival: nanoGPT's loader, windows at random places of a memory
map, gathered when they are wanted. Each process takes a step to warm up; then the clock around
`batch` gives `wait_s`, the one around the steps `wall_s`, and `wait_share` is the first by the
second. `wait_us_per_batch` can be held against the steps of a faster machine.

    python benchmarks/loader.py [--steps 8] [--repeats 5]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import App, Parameter

import harness
from harness import RESULTS, Contender

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "tinystories-17m"
SEQ_LEN, BATCH_SIZE = 256, 4
TOKENS = 1 << 25
WARM_UP_STEPS = 1
CONTENDERS = [Contender("minillm", "minillm"), Contender("memory map", "numpy")]

Load: TypeAlias = "Callable[[int], tuple[Tensor, Tensor]]"
"""Inputs and targets of a step."""

app = App(name="loader")


@app.default
def main(
    *,
    steps: int = 8,
    repeats: int = 5,
    out: Path = RESULTS / "loader.json",
    data: Annotated[Path | None, Parameter(show=False)] = None,
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures waiting for data in training.

    Args:
        steps: Steps of each sample.
        repeats: Samples of each loader.
        out: File of the result.
        data: Ids to read (internal).
        worker: Use this loader once (internal).
        report: Where a worker writes what it measured (internal).
    """
    if worker is not None and report is not None and data is not None:
        harness.answer(work(worker, data, steps), report)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "train.bin"
        write_ids(data)
        arguments = ["--steps", str(steps), "--data", str(data)]
        measured = harness.measure(__file__, CONTENDERS, arguments, repeats=repeats)
    shares = {
        name: harness.summary([sample["wait_s"] / sample["wall_s"] for sample in own])
        for name, own in measured.samples.items()
    }
    micros = {
        name: harness.summary([sample["wait_s"] / steps * 1e6 for sample in own])
        for name, own in measured.samples.items()
    }
    facts = {
        "model": MODEL,
        "seq_len": SEQ_LEN,
        "batch_size": BATCH_SIZE,
        "steps": steps,
        "wait_share": shares,
        "wait_us_per_batch": micros,
    }
    question = f"wait for data in {steps} steps of {MODEL}"
    sound = harness.write_comparison(out, question, CONTENDERS, measured, facts)
    print(json.dumps({"wait_share": shares, "wait_us_per_batch": micros}, indent=1))
    return 0 if sound else 1


def write_ids(path: Path) -> None:
    """Random ids below the model's vocabulary."""
    import numpy as np

    ids = np.random.default_rng(0).integers(0, 10_000, TOKENS, dtype="<u2")
    ids.tofile(path)


def work(contender: str, data: Path, steps: int) -> harness.Sample:
    """One process: the model, a warm-up, and the steps."""
    import torch

    from minillm.config import load_config
    from minillm.model import Transformer

    config = load_config(model=MODEL)
    torch.manual_seed(0)
    model = Transformer(config.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    load = {"minillm": read_ahead, "memory map": map_memory}[contender](data)
    wait_s = 0.0

    def step(index: int) -> None:
        nonlocal wait_s
        started = time.perf_counter()
        ids, targets = load(index)
        wait_s += time.perf_counter() - started
        model(ids, targets=targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    def train(first: int, count: int) -> None:
        for index in range(first, first + count):
            step(index)

    train(0, WARM_UP_STEPS)
    wait_s = 0.0
    _, sample = harness.timed(lambda: train(WARM_UP_STEPS, steps))
    return {**sample, "wait_s": wait_s}


def read_ahead(data: Path) -> Load:
    """The order and the reader of minillm."""
    from minillm.data import Batches, TokenFile

    batches = Batches([TokenFile(data)], seq_len=SEQ_LEN, batch_size=BATCH_SIZE, seed=0)
    return lambda index: batches.batch(index)[:2]


def map_memory(data: Path) -> Load:
    """The way of nanoGPT: windows at random places."""
    import numpy as np
    import torch

    def load(_: int) -> tuple[Tensor, Tensor]:
        ids = np.memmap(data, "<u2", "r")  # anew each time: its way around a leak
        starts = torch.randint(len(ids) - SEQ_LEN, (BATCH_SIZE,)).tolist()
        rows = np.stack([ids[start : start + SEQ_LEN + 1] for start in starts]).astype(np.int64)
        both = torch.from_numpy(rows)
        return both[:, :-1], both[:, 1:]

    return load


if __name__ == "__main__":
    sys.exit(app())
