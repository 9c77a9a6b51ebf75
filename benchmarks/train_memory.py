"""What does training in little memory cost?

First training runs once without a bound, and the peak memory of its process is noted. Then
training with `--max-memory` at a fraction of that (a quarter, if nothing else is said) takes turns
with training without. Both must learn the same tokens.

The result holds the bound, how many runs were spilled to disk, the time with the bound over the
time without, and what was resident beyond idle. That is the process's high-water mark: pages that
the allocator kept count, those that the interpreter had before do not.

    python benchmarks/train_memory.py CORPUS [CORPUS...] [--fraction 0.25]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import harness
from harness import RESULTS, SEPARATOR, Contender, Measured
from tables import table
from trainers import fingerprint

CONTENDERS = (Contender("unbounded", "minillm"), Contender("bounded", "minillm"))

app = App(name="train_memory")


@app.default
def main(
    *corpus: Path,
    vocab_size: int = 32_000,
    fraction: float = 0.25,
    max_memory: int = 0,
    repeats: int = 5,
    threads: int = 0,
    out: Path = RESULTS / "train_memory.json",
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures training with and without a bound on its memory.

    Args:
        corpus: Text files, taken together; documents end at <|endoftext|>.
        vocab_size: Ids: 256 bytes, the separator, and what is learned.
        fraction: The bound, as a part of the peak memory of a process without one.
        max_memory: The bound in bytes, instead; 0 leaves it to the fraction.
        repeats: Samples of each.
        threads: Threads; 0 takes every core.
        out: File of the result.
        worker: Train once, bounded or unbounded (internal).
        report: Where a worker writes what it measured (internal).
    """
    if why := harness.unusable(corpus):
        harness.say(f"error: {why}")
        return 2
    if worker is not None and report is not None:
        harness.answer(work(worker, corpus, vocab_size, max_memory), report)
        return 0
    contenders = harness.chosen(CONTENDERS, (), threads=threads)
    arguments = [*map(str, corpus), f"--vocab-size={vocab_size}"]
    if not max_memory:
        probe = harness.measure(__file__, contenders[:1], arguments, repeats=1)
        if probe.failed:
            return 1
        max_memory = int(fraction * probe.samples["unbounded"][0]["peak_rss_bytes"])
    harness.say(f"bound: {max_memory / 1e6:.1f} MB")
    arguments.append(f"--max-memory={max_memory}")
    measured = harness.measure(__file__, contenders, arguments, repeats=repeats)
    facts = {
        "corpus": harness.describe_corpus(*corpus),
        "vocab_size": vocab_size,
        "threads": threads or "all",
        "baseline": "unbounded",
        "max_memory_bytes": max_memory,
        **derived(measured),
    }
    question = f"train a vocabulary of {vocab_size} in {max_memory / 1e6:.1f} MB"
    sound = harness.write_comparison(out, question, contenders, measured, facts)
    print(table(out))
    learned = {own[0]["tokens_sha256"] for own in measured.samples.values()}
    if len(learned) > 1:
        harness.say("error: with and without a bound, different tokens were learned")
    return 0 if sound and len(learned) == 1 else 1


def work(name: str, corpus: Sequence[Path], vocab_size: int, max_memory: int) -> harness.Sample:
    """Trains once; through the extension, which tells of its spills."""
    from minillm import _core
    from minillm.tokenizer.inputs import Files

    trained, sample = harness.timed(
        lambda: _core.train(
            Files.of(corpus),
            vocab_size,
            smaller_sizes=[],
            base=None,
            special_tokens=[SEPARATOR],
            specials_first=False,
            pattern="gpt2",
            tie_break="hf",
            min_frequency=1,
            max_token_bytes=None,
            weights=[],
            table_entries=0,
            threads=harness.threads(),
            max_memory=max_memory if name == "bounded" else None,
            temp_dir=None,
            progress=_core.Progress(),
        )
    )
    return {
        **sample,
        "held_bytes": beyond_idle(sample),
        "spills": trained.spills,
        "spilled_bytes": trained.spilled_bytes,
        **fingerprint(left + right for left, right in trained.bpe.merges),
    }


def beyond_idle(sample: harness.Sample) -> int:
    """Bytes that the job added to what the interpreter had."""
    held: int = sample["peak_rss_bytes"] - sample["idle_rss_bytes"]
    return held


def derived(measured: Measured) -> dict[str, Any]:
    """Time with the bound over time without."""
    medians = [
        harness.summary([sample["wall_s"] for sample in measured.samples[name]])["median"]
        for name in ("bounded", "unbounded")
        if measured.samples.get(name)
    ]
    return {"time_over_unbounded": medians[0] / medians[1]} if len(medians) == 2 else {}


if __name__ == "__main__":
    sys.exit(app())
