"""How fast do texts become ids that are made to be slow? A million bytes of one pre-token, mostly.

Rivals: tiktoken, gigatoken. A long run without white space is one pre-token for most patterns, and a
merge loop that looks at all of it for each merge takes hours; others recurse, or run out of
memory. Each cell is processes of its own: a vocabulary, a text, a contender. A contender is warm when
the clock starts: it has encoded some prose. Then it encodes the text several times, each time a few
letters less of it, so that nobody answers from a cache of that very text; the median counts.

    python benchmarks/hostile.py --vocabularies FOLDER [--repeats 5]

FOLDER holds `r50k_base.tiktoken` and `cl100k_base.tiktoken`. The result is `results/hostile.json`;
a contender that crashes on a text, or takes longer than `--timeout-s`, is recorded as that.
"""

from __future__ import annotations

import base64
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter

import harness
from encode import fingerprint
from harness import RESULTS, Contender
from tables import table

CONTENDERS = (
    Contender("minillm", "minillm"),
    Contender("tiktoken", "tiktoken"),
    Contender("gigatoken", "gigatoken"),
)
PATTERNS = {
    "r50k_base": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}
"""As tiktoken itself has them, for tiktoken."""
NAMES = {"r50k_base": "gpt2", "cl100k_base": "cl100k"}
"""What minillm calls them."""
UNITS = {"a": "a", "space": " ", "ab": "ab", "^": "^", "random letters": "", "U+0301": "\u0301"}
"""What the texts repeat."""
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
        vocabularies: Folder with r50k_base.tiktoken and cl100k_base.tiktoken.
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
        harness.answer(work(worker, vocabularies, name, unit, text_bytes, calls), report)
        return 0
    contenders = harness.chosen(CONTENDERS, only, threads=1)
    cells = {}
    for name in NAMES:
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


def work(
    contender: str, vocabularies: Path, name: str, unit: str, text_bytes: int, calls: int
) -> harness.Sample:
    """One process: each call has a text of its own."""
    encode = PREPARE[contender](vocabularies / f"{name}.tiktoken", name)
    text = hostile_text(UNITS[unit], text_bytes)
    encode(PROSE)
    seconds = []
    for call in range(calls):
        piece = text[: len(text) - 2 * call]
        ids, sample = harness.timed(lambda piece=piece: encode(piece))
        seconds.append(sample["wall_s"])
    count, digest = fingerprint(np.asarray(ids, dtype=np.uint32))
    return {
        "wall_s": statistics.median(seconds),
        "peak_rss_bytes": harness.peak_rss_bytes(),
        "ids": count,
        "ids_sha256": digest,
    }


def hostile_text(unit: str, text_bytes: int) -> str:
    """`unit` again and again, or random letters if it is empty."""
    if not unit:
        return "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=text_bytes))
    return unit * (text_bytes // len(unit.encode()))


def summarized(contenders: Sequence[Contender], measured: harness.Measured) -> dict[str, Any]:
    """Everyone's numbers, whether the ids are the same, and how many times the best rival's speed."""
    rows = harness.rows_of(contenders, measured)
    times = {name: row["wall_s"]["median"] for name, row in rows.items()}
    own = times.pop("minillm", None)
    answers = {(str(row["ids"]), str(row["ids_sha256"])) for row in rows.values()}
    cell = {"agree": len(answers) <= 1, "failed": measured.failed, "contenders": rows}
    if own and times:
        fastest = min(times, key=lambda name: times[name])
        cell |= {"fastest_rival": fastest, "times_as_fast": times[fastest] / own}
    return cell


def prepare_minillm(ranks: Path, name: str) -> Encode:
    """The package's own encoder."""
    from minillm.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_ranks(ranks, special_tokens={}, pattern=NAMES[name])
    return tokenizer.encode_to_numpy


def prepare_tiktoken(ranks: Path, name: str) -> Encode:
    """tiktoken, which makes a list."""
    import tiktoken

    lines = (line.split() for line in ranks.read_bytes().splitlines())
    encoding = tiktoken.Encoding(
        name,
        pat_str=PATTERNS[name],
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens={},
    )
    return encoding.encode_ordinary


def prepare_gigatoken(ranks: Path, name: str) -> Encode:
    """gigatoken, on this thread."""
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(ranks)
    return lambda text: tokenizer.encode_batch([text], parallel=False)[0]


PREPARE: dict[str, Callable[[Path, str], Encode]] = {
    "minillm": prepare_minillm,
    "tiktoken": prepare_tiktoken,
    "gigatoken": prepare_gigatoken,
}

if __name__ == "__main__":
    sys.exit(app())
