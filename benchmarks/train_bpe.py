"""How long does it take to train a 32k byte-level BPE vocabulary, and in how much memory?

Every trainer that is installed takes part (`trainers.py` names them and says how each is called).
minillm runs in its three tie modes from Python, and once more as the command `minillm-bpe train`,
with the clock outside of the process. What was learned is compared, token by token.

Each corpus makes a result file of its own, `results/train_bpe-NAME.json`, written when that corpus
is done: a run may be done in parts.

    python benchmarks/train_bpe.py books=BOOKS.txt wikipedia=WIKI.txt both=BOOKS.txt:WIKI.txt
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import harness
import trainers
from harness import RESULTS, Measured
from tables import table

BASELINE = "minillm-hf"

app = App(name="train_bpe")


@app.default
def main(
    *corpora: str,
    vocab_size: int = 32_000,
    repeats: int = 5,
    max_seconds: float = 120,
    only: Sequence[str] = (),
    threads: int = 0,
    out_dir: Path = RESULTS,
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone on each corpus.

    Args:
        corpora: A text file, or several with `:` between them, and before that, if the result is
            to be called otherwise than the file, `NAME=`. Documents end at <|endoftext|>.
        vocab_size: Ids: 256 bytes, the separator, and what is learned.
        repeats: Samples of each contender.
        max_seconds: A contender whose samples took this long together gets no more of them.
        only: Contenders to run; all if none is named.
        threads: Threads for each contender; 0 takes every core.
        out_dir: Folder of the results.
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    named = dict(map(parse_corpus, corpora))
    if why := harness.unusable([path for files in named.values() for path in files]):
        harness.say(f"error: {why}")
        return 2
    if worker is not None and report is not None:
        [files] = named.values()
        harness.answer(trainers.work(worker, files, vocab_size), report)
        return 0
    contenders = harness.chosen(trainers.CONTENDERS, only, threads=threads)
    status = 0
    for name, files in named.items():
        harness.say(f"== {name}: {', '.join(map(str, files))}")
        measured = harness.measure(
            __file__,
            contenders,
            [joined(files), f"--vocab-size={vocab_size}"],
            repeats=repeats,
            max_seconds=max_seconds,
        )
        facts = {
            "corpus": harness.describe_corpus(*files),
            "vocab_size": vocab_size,
            "threads": threads or "all",
            "max_seconds": max_seconds,
            "baseline": BASELINE,
            **command_overhead(measured),
        }
        out = out_dir / f"train_bpe-{name}.json"
        question = f"train a vocabulary of {vocab_size}"
        sound = harness.write_comparison(out, question, contenders, measured, facts)
        print(table(out))
        disagree = trainers.disagreements(json.loads(out.read_text())["contenders"])
        for ours, theirs in disagree:
            harness.say(f"error: {ours} and {theirs} learned different tokens")
        status |= 0 if sound and not disagree else 1
    return status


def parse_corpus(argument: str) -> tuple[str, list[Path]]:
    """What `NAME=FILE:FILE` means; without a name, the files' own."""
    name, equals, files = argument.rpartition("=")
    paths = [Path(file) for file in files.split(os.pathsep)]
    if not equals:
        name = "+".join(path.stem for path in paths)
    return re.sub(r"[^\w.+-]", "-", name), paths


def joined(files: Sequence[Path]) -> str:
    """The argument that `parse_corpus` reads as these files."""
    return "=" + os.pathsep.join(map(str, files))


def command_overhead(measured: Measured) -> Mapping[str, Any]:
    """What the command takes on top of the same job in process, if both were measured."""
    medians = [
        harness.summary([sample["wall_s"] for sample in measured.samples[name]])["median"]
        for name in ("minillm-command", BASELINE)
        if measured.samples.get(name)
    ]
    return {"command_overhead_s": medians[0] - medians[1]} if len(medians) == 2 else {}


if __name__ == "__main__":
    sys.exit(app())
