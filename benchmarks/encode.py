"""How fast does text become ids in memory: prose, code, Korean, Russian, Chinese?

`encoders.py` names the rivals and says how each is called, `vocabularies.py` the vocabularies. Each
process encodes the whole text several times: the first call pays for cold caches, of the later
(warm) ones the median counts. Peak memory is that of the process up to the end of the first call,
vocabulary and text included. Everyone's ids of the first and the last call are compared by count
and hash; the benchmark fails if they differ.

Each text and number of threads makes a result file of its own, and all of them one plot (`--repeats
0` draws it again and no more).

    python benchmarks/encode.py prose=A.txt code=B.txt korean=C.txt --vocabularies FOLDER
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

import encode_plot
import encoders
import harness
import vocabularies
from harness import RESULTS
from tables import table
from train_bpe import parse_corpus
from vocabularies import Vocabulary

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "encode.png"

app = App(name="encode")


@app.default
def main(
    *texts: str,
    vocabularies_folder: Annotated[Path, Parameter(name="--vocabularies")] = Path(),
    vocabulary: Literal["gpt2", "cl100k", "learned"] = "gpt2",
    threads: Annotated[Sequence[int], Parameter(consume_multiple=True)] = (1, 0),
    warm_calls: int = 3,
    repeats: int = 5,
    max_seconds: float = 120,
    beside: str | None = None,
    only: Sequence[str] = (),
    out_dir: Path = RESULTS,
    image: Path | None = None,
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone on each text.

    Args:
        texts: Files of UTF-8 text whose documents end at <|endoftext|>; before a file, if its
            result is to be called otherwise, `NAME=`.
        vocabularies_folder: Folder that holds tiktoken/r50k_base.tiktoken and the like.
        vocabulary: `learned` is what the text itself teaches.
        threads: Threads for each contender; 0 takes every core.
        warm_calls: Calls after the first in each process.
        repeats: Processes of each contender; 0 draws the plot again.
        max_seconds: A contender that took this long in all on a text gets no more turns.
        beside: Interpreter of an environment that holds the pre-release of tokenizers and
            bpe-openai, which cannot be installed in this one; they are left out without it.
        only: Contenders to run; all if none is named.
        out_dir: Folder of the results.
        image: File of the plot; of gpt2 docs/images/encode.png if none is named.
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    chosen = vocabularies.VOCABULARIES[vocabulary]
    if worker is not None and report is not None:
        sample = work(worker, Path(texts[0]), chosen, vocabularies_folder, warm_calls)
        harness.answer(sample, report)
        return 0
    named = {name: path for name, [path] in map(parse_corpus, texts)}
    needed = [*named.values(), *([Path(beside)] if beside else [])]
    if repeats and (why := harness.unusable(needed)):
        harness.say(f"error: {why}")
        return 2
    status = 0
    for name, text in named.items() if repeats else ():
        with tempfile.TemporaryDirectory() as folder:
            vocabularies.prepare(chosen, vocabularies_folder, text, Path(folder))
            arguments = [str(text), f"--vocabulary={vocabulary}", f"--vocabularies={folder}"]
            arguments.append(f"--warm-calls={warm_calls}")
            for n_threads in threads:
                harness.say(f"== {name}, {n_threads or 'all'} threads")
                able = encoders.contenders(chosen, beside)
                ready = harness.chosen(able, only, threads=n_threads)
                measured = harness.measure(
                    __file__, ready, arguments, repeats=repeats, max_seconds=max_seconds
                )
                facts = {
                    "text": name,
                    "corpus": harness.describe_corpus(text),
                    "vocabulary": vocabulary,
                    "threads": n_threads or "all",
                    "max_seconds": max_seconds,
                }
                path = out_dir / f"encode-{vocabulary}-{name}-{n_threads or 'all'}.json"
                question = f"encode {name} with the {vocabulary} vocabulary"
                sound = harness.write_comparison(path, question, ready, measured, facts)
                print(table(path))
                status |= 0 if sound and harness.agree(path, "ids", "ids_sha256") else 1
    if image is not None or vocabulary == "gpt2":
        encode_plot.draw(sorted(out_dir.glob(f"encode-{vocabulary}-*.json")), image or IMAGE)
    return status


def work(
    contender: str, text: Path, vocabulary: Vocabulary, folder: Path, warm_calls: int
) -> harness.Sample:
    """One process: the first call, then the warm ones."""
    encode = encoders.PREPARE[contender](text, vocabulary, folder)
    first_ids, sample = harness.timed(encode)
    count, digest = fingerprint(first_ids())
    del first_ids
    warm_s = []
    for call in range(warm_calls):
        ids, again = harness.timed(encode)
        warm_s.append(again["wall_s"])
        if call == warm_calls - 1 and fingerprint(ids()) != (count, digest):
            raise ValueError(f"{contender} gave other ids when it was warm")
        del ids
    return {
        "first_s": sample["wall_s"],
        "warm_s": statistics.median(warm_s or [sample["wall_s"]]),
        "first_cpu_s": sample["cpu_s"],
        "peak_rss_bytes": sample["peak_rss_bytes"],
        "ids": count,
        "ids_sha256": digest,
    }


def fingerprint(ids: encoders.Ids) -> tuple[int, str]:
    """Number of ids and the hash of them as little-endian u32."""
    return len(ids), hashlib.sha256(ids.astype("<u4").tobytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(app())
