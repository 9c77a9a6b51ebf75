"""How fast do texts become ids that are made to be slow?

Rivals: tiktoken, gigatoken. A long run without white space is one pre-token, and a merge loop that
looks at all of it for each merge takes hours; others recurse, or run out of memory. A
vocabulary, a text and a contender are processes of their own. Each has encoded some prose when the
clock starts, and then encodes the text several times, each time a little less of it, so that nobody
answers from a cache of that very text; the median counts.

    python benchmarks/hostile.py --vocabularies FOLDER [--repeats 5]

The result is `results/hostile.json`. A contender that crashes on a text, or takes longer than
`--timeout-s`, is recorded as that.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter

import harness
from harness import RESULTS, Contender
from tables import table
from vocabularies import CL100K, GPT2, VOCABULARIES, Vocabulary, ranks

CONTENDERS = (
    Contender("minillm", "minillm"),
    Contender("tiktoken", "tiktoken"),
    Contender("gigatoken", "gigatoken"),
)
UNITS = {"a": "a", "space": " ", "ab": "ab", "^": "^", "random letters": "", "U+0301": "\u0301"}
"""What the texts repeat; random letters repeat nothing."""
PROSE = "Some prose, to be warm: 12 words and more of it.\n" * 20

Encode = Callable[[str], Any]
"""Gives ids in the form that the contender makes; an array is made of them outside of the clock."""

app = App(name="hostile")


@app.default
def main(
    *,
    vocabularies: Path,
    text_bytes: int = 1_000_000,
    calls: int = 3,
    repeats: int = 5,
    timeout_s: float = 60.0,
    texts: Sequence[str] = (),
    only: Sequence[str] = (),
    out: Path = RESULTS / "hostile.json",
    cell: Annotated[str, Parameter(show=False)] = "",
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone on every text with every vocabulary.

    Args:
        vocabularies: Folder with tiktoken/r50k_base.tiktoken and tiktoken/cl100k_base.tiktoken.
        text_bytes: Length of each text.
        calls: Calls in each process.
        repeats: Processes of each contender for each text and vocabulary.
        timeout_s: A process that takes longer is ended, and its contender out for this cell.
        texts: Texts to encode, by what they repeat; all if none is named.
        only: Contenders to run; all if none is named.
        out: File of the result.
        cell: Vocabulary and unit of the worker's text (internal).
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    if worker is not None and report is not None:
        name, unit = cell.split("/")
        encode = PREPARE[worker](vocabularies, VOCABULARIES[name])
        harness.answer(work(encode, hostile_text(UNITS[unit], text_bytes), calls), report)
        return 0
    contenders = harness.chosen(CONTENDERS, only, threads=1)
    cells = {}
    for name in (GPT2.name, CL100K.name):
        for unit in texts or UNITS:
            harness.say(f"{name}, {unit}")
            measured = harness.measure(
                __file__,
                contenders,
                [
                    f"--vocabularies={vocabularies}",
                    f"--text-bytes={text_bytes}",
                    f"--calls={calls}",
                    f"--cell={name}/{unit}",
                ],
                repeats=repeats,
                timeout_s=timeout_s,
            )
            cells[f"{name}, {unit}"] = summarized(contenders, measured)
    harness.write_result(
        out,
        {
            "question": "encode texts that are made to be slow",
            "repeats": repeats,
            "calls": calls,
            "text_bytes": text_bytes,
            "cells": cells,
        },
    )
    print(table(out))
    sound = all(found["agree"] and "minillm" not in found["failed"] for found in cells.values())
    return 0 if sound else 1


def work(encode: Encode, text: str, calls: int) -> harness.Sample:
    """One process: each call has a text of its own."""
    encode(PROSE)
    seconds = []
    for call in range(calls):
        piece = text[: len(text) - 2 * call]
        ids, sample = harness.timed(partial(encode, piece))
        seconds.append(sample["wall_s"])
    ids = np.asarray(ids, dtype="<u4")
    return {
        "wall_s": statistics.median(seconds),
        "peak_rss_bytes": harness.peak_rss_bytes(),
        "ids": len(ids),
        "ids_sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
    }


def hostile_text(unit: str, text_bytes: int) -> str:
    """`unit` again and again, or random letters if it is empty."""
    if not unit:
        generator = random.Random(0)  # noqa: S311  the same letters every time
        return "".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=text_bytes))
    return unit * (text_bytes // len(unit.encode()))


def summarized(contenders: Sequence[Contender], measured: harness.Measured) -> dict[str, Any]:
    """Everyone's numbers, whether the ids are the same, and how much faster than the best rival."""
    rows = harness.rows_of(contenders, measured)
    times = {name: row["wall_s"]["median"] for name, row in rows.items()}
    own = times.pop("minillm", None)
    answers = {(str(row["ids"]), str(row["ids_sha256"])) for row in rows.values()}
    cell = {"agree": len(answers) <= 1, "failed": measured.failed, "contenders": rows}
    if own and times:
        fastest = min(times, key=lambda name: times[name])
        cell |= {"fastest_rival": fastest, "times_as_fast": times[fastest] / own}
    return cell


def prepare_minillm(folder: Path, vocabulary: Vocabulary) -> Encode:
    """The package's own encoder."""
    from minillm.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_ranks(
        folder / vocabulary.file, special_tokens={}, pattern=vocabulary.pattern
    )
    return tokenizer.encode_to_numpy


def prepare_tiktoken(folder: Path, vocabulary: Vocabulary) -> Encode:
    """tiktoken, which makes a list."""
    import tiktoken

    encoding = tiktoken.Encoding(
        vocabulary.name,
        pat_str=vocabulary.regex,
        mergeable_ranks=ranks(folder / vocabulary.file),
        special_tokens={},
    )
    return encoding.encode_ordinary


def prepare_gigatoken(folder: Path, vocabulary: Vocabulary) -> Encode:
    """gigatoken, on this thread."""
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(folder / vocabulary.file)
    return lambda text: tokenizer.encode_batch([text], parallel=False)[0]


PREPARE: dict[str, Callable[[Path, Vocabulary], Encode]] = {
    "minillm": prepare_minillm,
    "tiktoken": prepare_tiktoken,
    "gigatoken": prepare_gigatoken,
}

if __name__ == "__main__":
    sys.exit(app())
