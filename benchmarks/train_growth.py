"""How do the time and memory of training grow with the text, and with the vocabulary?

One series trains a fixed vocabulary on 25, 50, 100, 200 and 400 MB: the given files, taken in turn
and cut at the end of a document. No text is repeated, because repeated text has no new words and
would flatter everyone: where the files end before a size is reached, all there is stands for it.
The other series trains 8k, 32k and 100k on a text of fixed size.

A contender that takes longer than `--max-seconds` for a point is left out of all larger points of
that series, and the result says so. The result is written after each point; `--resume` goes on
with a run that was stopped. The plot is drawn anew each time (`--repeats 0` draws it and no more).

    python benchmarks/train_growth.py FILE [FILE...] [--sizes-mb 25 50 100 200 400]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import harness
import trainers
from growth_plot import draw
from harness import MEBIBYTE, RESULTS, SEPARATOR

WORKER = Path(__file__).with_name("train_bpe.py")
IMAGE = Path(__file__).parents[1] / "docs" / "images" / "train-growth.png"
DEFAULT = ("minillm-hf", "gigatoken", "ffbpe", "rustbpe", "tokenizers")
Integers = Annotated[Sequence[int], Parameter(consume_multiple=True)]

app = App(name="train_growth")


@dataclass(frozen=True)
class Point:
    """A place on the x axis: so much text, so many ids."""

    series: str
    """What grows: `text` or `vocabulary`."""
    asked_bytes: int
    vocab_size: int


@app.default
def main(
    *files: Path,
    sizes_mb: Integers = (25, 50, 100, 200, 400),
    vocab_size: int = 32_000,
    vocab_sizes: Integers = (8_000, 32_000, 100_000),
    vocabulary_mb: int = 100,
    repeats: int = 3,
    max_seconds: float = 30,
    only: Sequence[str] = DEFAULT,
    threads: int = 0,
    resume: bool = False,
    out: Path = RESULTS / "train_growth.json",
    image: Path = IMAGE,
) -> int:
    """Measures how training grows, and draws it.

    Args:
        files: Text files, taken in turn; documents end at <|endoftext|>.
        sizes_mb: Sizes of the text, in millions of bytes.
        vocab_size: Vocabulary of the series in which the text grows.
        vocab_sizes: Vocabularies of the other series.
        vocabulary_mb: Size of the text in that series.
        repeats: Samples of each contender at each point; 0 draws the plot again.
        max_seconds: Who takes longer for a point is left out of larger ones.
        only: Contenders to run.
        threads: Threads for each contender; 0 takes every core.
        resume: Keep the points that are in the result already.
        out: File of the result.
        image: File of the plot.
    """
    if repeats == 0:
        draw(json.loads(out.read_text()), image)
        return 0
    if why := harness.unusable(files):
        harness.say(f"error: {why}")
        return 2
    contenders = harness.chosen(trainers.CONTENDERS, only, threads=threads)
    result: dict[str, Any] = {
        "question": "train on more text and to a larger vocabulary",
        "files": [path.name for path in files],
        "threads": threads or "all",
        "repeats": repeats,
        "max_seconds": max_seconds,
        "points": [],
    }
    if resume and out.exists():
        before = json.loads(out.read_text())
        if (before["files"], before["threads"]) != (result["files"], result["threads"]):
            harness.say(f"error: `{out}` is of other files or threads; leave out --resume")
            return 2
        result["points"] = before["points"]
    status = 0
    for point in points(files, sizes_mb, vocab_size, vocabulary_mb, vocab_sizes):
        key = vars(point)
        if any(key.items() <= done.items() for done in result["points"]):
            continue
        slow = too_slow(result["points"], point.series, max_seconds)
        taking_part = [contender for contender in contenders if contender.name not in slow]
        measured = measure_point(files, point, taking_part, repeats)
        result["points"].append({**key, **measured, "left_out": sorted(slow)})
        harness.write_result(out, result)
        status |= 1 if is_wrong(measured) else 0
    draw(result, image)
    return status


def points(
    files: Sequence[Path],
    sizes_mb: Sequence[int],
    vocab_size: int,
    vocabulary_mb: int,
    vocab_sizes: Sequence[int],
) -> Iterator[Point]:
    """Both series, the small points first, and each text once even if the files end early."""
    available = joined_bytes(files)
    sizes = sorted({min(size * 10**6, available) for size in sizes_mb})
    if available < max(sizes_mb, default=0) * 10**6:
        harness.say(f"the files hold {available / 1e6:.0f} MB, which stands for all larger sizes")
    for size in sizes:
        yield Point("text", size, vocab_size)
    for vocabulary in sorted(set(vocab_sizes)):
        yield Point("vocabulary", min(vocabulary_mb * 10**6, available), vocabulary)


def measure_point(
    files: Sequence[Path], point: Point, contenders: Sequence[harness.Contender], repeats: int
) -> dict[str, Any]:
    """Cuts the text and lets everyone train on it."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        write_prefix(files, point.asked_bytes, text)
        corpus = harness.describe_corpus(text)
        harness.say(f"== {corpus['bytes'] / 1e6:.0f} MB, vocabulary of {point.vocab_size}")
        arguments = [f"text={text}", f"--vocab-size={point.vocab_size}"]
        measured = harness.measure(WORKER, contenders, arguments, repeats=repeats)
    rows = harness.rows_of(contenders, measured)
    return {
        "bytes": corpus["bytes"],
        "sha256": corpus["sha256"],
        "failed": measured.failed,
        "disagree": trainers.disagreements(rows),
        "contenders": rows,
    }


def is_wrong(measured: dict[str, Any]) -> bool:
    """Whether someone failed, or two learned different tokens; the latter is said."""
    for ours, theirs in measured["disagree"]:
        harness.say(f"error: {ours} and {theirs} learned different tokens")
    return bool(measured["failed"] or measured["disagree"])


def too_slow(done: Sequence[dict[str, Any]], series: str, max_seconds: float) -> set[str]:
    """Those who took too long, or failed, or were left out, at a smaller point of this series."""
    slow: set[str] = set()
    for point in done:
        if point["series"] == series:
            slow |= {*point["left_out"], *point["failed"]}
            slow |= {
                name
                for name, row in point["contenders"].items()
                if row["wall_s"]["median"] > max_seconds
            }
    return slow


def joined_bytes(files: Sequence[Path]) -> int:
    """Size of the files with a separator between them."""
    return sum(path.stat().st_size for path in files) + len(SEPARATOR) * (len(files) - 1)


def write_prefix(files: Sequence[Path], n_bytes: int, out: Path) -> None:
    """The first `n_bytes` of the files, joined by a separator, cut back to the end of a document.

    If the files end before that size, it is all there is. A text without any separator is cut back
    to the end of a line instead.

    Raises:
        ValueError: If that leaves nothing.
    """
    with out.open("wb") as target:
        for index, path in enumerate(files):
            target.write(SEPARATOR.encode() if index else b"")
            with path.open("rb") as source:
                while block := source.read(min(MEBIBYTE, max(n_bytes - target.tell(), 0))):
                    target.write(block)
    if n_bytes >= joined_bytes(files):
        return
    text = out.read_bytes()[:n_bytes]
    end = max(text.rfind(SEPARATOR.encode()), 0) or text.rfind(b"\n")
    if end <= 0:
        raise ValueError(f"no document and no line ends in the first {n_bytes} bytes")
    os.truncate(out, end)


if __name__ == "__main__":
    sys.exit(app())
