"""Where does the time of training go: how long is the counting, how long the merging?

Both are timed in process, through the Python API, each in a process of its own: counting alone
(`Counts.of`: read, cut, count), merging alone (`Counts.train`, with counts that were made before
the clock started), and the whole (`Tokenizer.train`). Merging and the whole for each size of the
vocabulary, everything with one thread and with every core. The scan alone, without tables, is
`scan.py`.

The result also holds, for each number of threads, the share of the counting in each whole, and the
time of the largest vocabulary over that of the one before it.

    python benchmarks/train_phases.py CORPUS [CORPUS...] [--vocab-sizes 8000 32000 100000]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import harness
from harness import RESULTS, SEPARATOR, Contender, Measured
from tables import table
from trainers import fingerprint

app = App(name="train_phases")


@app.default
def main(
    *corpus: Path,
    vocab_sizes: Annotated[Sequence[int], Parameter(consume_multiple=True)] = (
        8_000,
        32_000,
        100_000,
    ),
    repeats: int = 5,
    out: Path = RESULTS / "train_phases.json",
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures the phases of training on one corpus.

    Args:
        corpus: Text files, taken together; documents end at <|endoftext|>.
        vocab_sizes: Sizes of the vocabulary.
        repeats: Samples of each phase.
        out: File of the result.
        worker: Do this phase once (internal).
        report: Where a worker writes what it measured (internal).
    """
    if why := harness.unusable(corpus):
        harness.say(f"error: {why}")
        return 2
    if worker is not None and report is not None:
        harness.answer(work(worker, corpus), report)
        return 0
    sizes = sorted(set(vocab_sizes))
    phases = contenders(sizes)
    measured = harness.measure(__file__, phases, list(map(str, corpus)), repeats=repeats)
    facts = {
        "corpus": harness.describe_corpus(*corpus),
        "threads": "1 and all",
        "vocab_sizes": sizes,
        "derived": derived(measured, sizes),
    }
    sound = harness.write_comparison(out, "train, by phases", phases, measured, facts)
    print(table(out))
    agree = all_agree(measured, sizes)
    return 0 if sound and agree else 1


def contenders(sizes: Sequence[int]) -> list[Contender]:
    """Every phase with one thread and with all of them."""
    names = ["count", *(f"{phase} {size}" for size in sizes for phase in ("merge", "whole"))]
    one = {"RAYON_NUM_THREADS": "1"}
    return [
        replace(Contender(f"{name}, {label}", "minillm"), environment=environment)
        for label, environment in (("1 thread", one), ("all threads", {}))
        for name in names
    ]


def work(name: str, corpus: Sequence[Path]) -> harness.Sample:
    """One phase, once."""
    from minillm.tokenizer import Counts, Tokenizer

    phase, *rest = name.partition(",")[0].split()
    threads = harness.threads()

    def count() -> Counts:
        return Counts.of(corpus, special_tokens=[SEPARATOR], pattern="gpt2", threads=threads)

    if phase == "count":
        counts, sample = harness.timed(count)
        return {**sample, "pre_tokens": counts.total, "distinct_pre_tokens": len(counts)}
    vocab_size = int(rest[0])
    if phase == "merge":
        counts = count()
        tokenizer, sample = harness.timed(
            lambda: counts.train(vocab_size, tie_break="hf", threads=threads)
        )
        # Memory is that of counting, which came first.
        sample = {key: sample[key] for key in ("wall_s", "cpu_s")}
    else:
        tokenizer, sample = harness.timed(
            lambda: Tokenizer.train(
                corpus,
                vocab_size,
                special_tokens=[SEPARATOR],
                pattern="gpt2",
                tie_break="hf",
                threads=threads,
            )
        )
    return {**sample, **fingerprint(left + right for left, right in tokenizer.merges)}


def derived(measured: Measured, sizes: Sequence[int]) -> dict[str, Any]:
    """Shares of counting, and what the largest vocabulary costs over the one before it."""
    wall_s = {
        name: harness.summary([sample["wall_s"] for sample in own])["median"]
        for name, own in measured.samples.items()
    }
    found: dict[str, Any] = {}
    for label in ("1 thread", "all threads"):
        whole = {size: wall_s.get(f"whole {size}, {label}") for size in sizes}
        counting = wall_s.get(f"count, {label}")
        if counting is None or None in whole.values():
            continue  # one of them failed, which is reported
        times = {size: time for size, time in whole.items() if time is not None}
        facts: dict[str, Any] = {
            "share_of_counting": {size: counting / time for size, time in times.items()}
        }
        if len(sizes) > 1:
            before, largest = sizes[-2:]
            facts[f"time_{largest}_over_{before}"] = times[largest] / times[before]
        found[label] = facts
    return found


def all_agree(measured: Measured, sizes: Sequence[int]) -> bool:
    """Whether merging alone and the whole, on any number of threads, learned the same."""
    sound = True
    for size in sizes:
        learned = {
            sample["tokens_sha256"]
            for name, own in measured.samples.items()
            if name.partition(",")[0].endswith(f" {size}")
            for sample in own
        }
        if len(learned) > 1:
            harness.say(f"error: the phases learned different vocabularies of {size}")
            sound = False
    return sound


if __name__ == "__main__":
    sys.exit(app())
