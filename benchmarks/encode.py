"""How fast does text become ids, with GPT-2's vocabulary, in memory?

Rivals: tiktoken, Hugging Face tokenizers, gigatoken. Everyone gets the same documents in the form
it likes best, already in memory, and the same vocabulary: `r50k_base.tiktoken`, for Hugging Face
the same in GPT-2's own two files (`encoder.json`, `vocab.bpe`). Each process encodes the whole
text several times: the first call pays for cold caches, of the later (warm) ones the median
counts. The ids of the first and the last call are compared by count and hash in every run.

    python benchmarks/encode.py CORPUS --vocabulary FOLDER [--threads 1] [--repeats 5]
"""

from __future__ import annotations

import base64
import hashlib
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter
from numpy.typing import NDArray

import harness
from harness import RESULTS, SEPARATOR, Contender
from tables import table

RANKS = "tiktoken/r50k_base.tiktoken"
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
END_OF_TEXT_ID = 50_256

CONTENDERS = (
    Contender("minillm", "minillm"),
    Contender("tiktoken", "tiktoken"),
    Contender("tokenizers", "tokenizers"),
    Contender("gigatoken", "gigatoken"),
)

Ids = NDArray[np.uint32]
Encode = Callable[[], Callable[[], Ids]]
"""Encodes everything; what it gives back turns the result into one array, outside the clock."""

app = App(name="encode")


@app.default
def main(
    corpus: Path,
    *,
    vocabulary: Path,
    threads: int = 1,
    warm_calls: int = 3,
    repeats: int = 5,
    only: Sequence[str] = (),
    out: Path | None = None,
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone on one corpus.

    Args:
        corpus: UTF-8 text; documents end at <|endoftext|>.
        vocabulary: Folder with tiktoken/r50k_base.tiktoken and gpt2/encoder.json, gpt2/vocab.bpe.
        threads: Threads for each contender; 0 takes every core.
        warm_calls: Calls after the first in each process.
        repeats: Processes of each contender.
        only: Contenders to run; all if none is named.
        out: File of the result; encode-THREADS.json in results/ if none is named.
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    if worker is not None and report is not None:
        harness.answer(work(worker, corpus, vocabulary, warm_calls), report)
        return 0
    contenders = harness.chosen(CONTENDERS, only, threads=threads)
    arguments = [str(corpus), f"--vocabulary={vocabulary}", f"--warm-calls={warm_calls}"]
    measured = harness.measure(__file__, contenders, arguments, repeats=repeats)
    path = out or RESULTS / f"encode-{threads or 'all'}.json"
    sound = harness.write_comparison(
        path,
        "encode with GPT-2's vocabulary",
        contenders,
        measured,
        {"corpus": harness.describe_corpus(corpus), "threads": threads or "all"},
    )
    print(table(path))
    return 0 if sound and harness.agree(path, "ids", "ids_sha256") else 1


def work(contender: str, corpus: Path, vocabulary: Path, warm_calls: int) -> harness.Sample:
    """One process: the first call, then the warm ones."""
    encode = PREPARE[contender](corpus, vocabulary)
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
        "warm_s": statistics.median(warm_s),
        "first_cpu_s": sample["cpu_s"],
        "ids": count,
        "ids_sha256": digest,
    }


def fingerprint(ids: Ids) -> tuple[int, str]:
    """Number of ids and the hash of them as little-endian u32."""
    return len(ids), hashlib.sha256(ids.astype("<u4").tobytes()).hexdigest()


def ranks(vocabulary: Path) -> dict[bytes, int]:
    """The tokens of r50k with their ids."""
    lines = (vocabulary / RANKS).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def flat(rows: Sequence[Sequence[int]] | list[NDArray[Any]]) -> Ids:
    """All ids in one array."""
    return np.concatenate([np.asarray(row, dtype=np.uint32) for row in rows])


def prepare_minillm(corpus: Path, vocabulary: Path) -> Encode:
    """The package's own encoder: all documents in one call, as bytes, on its own threads."""
    from minillm.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_ranks(
        vocabulary / RANKS, special_tokens={SEPARATOR: END_OF_TEXT_ID}, pattern="gpt2"
    )
    texts = [text.encode() for text in harness.documents(corpus)]
    n_threads = harness.threads()

    def encode() -> Callable[[], Ids]:
        ids, _ = tokenizer.encode_batch(texts, disallowed_special=(), threads=n_threads)
        return lambda: ids.astype(np.uint32)

    return encode


def prepare_tiktoken(corpus: Path, vocabulary: Path) -> Encode:
    """tiktoken: one call per document, or its own threads over documents."""
    import tiktoken

    encoding = tiktoken.Encoding(
        "r50k",
        pat_str=GPT2_PATTERN,
        mergeable_ranks=ranks(vocabulary),
        special_tokens={SEPARATOR: END_OF_TEXT_ID},
    )
    texts = list(harness.documents(corpus))
    n_threads = harness.threads() or os.cpu_count() or 1

    def encode() -> Callable[[], Ids]:
        if n_threads == 1:
            rows = [encoding.encode_ordinary(text) for text in texts]
        else:
            rows = encoding.encode_ordinary_batch(texts, num_threads=n_threads)
        return lambda: flat(rows)

    return encode


def prepare_tokenizers(corpus: Path, vocabulary: Path) -> Encode:
    """Hugging Face: batches, because an encoding holds far more than ids; kept are the ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = vocabulary / "gpt2"
    tokenizer = Tokenizer(
        models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    texts = list(harness.documents(corpus))

    def encode() -> Callable[[], Ids]:
        rows = []
        for start in range(0, len(texts), 256):
            batch = tokenizer.encode_batch_fast(
                texts[start : start + 256], add_special_tokens=False
            )
            rows += [encoding.ids for encoding in batch]
        return lambda: flat(rows)

    return encode


def prepare_gigatoken(corpus: Path, vocabulary: Path) -> Encode:
    """gigatoken: one buffer that it cuts at the separator itself, the fastest of its ways in."""
    import awkward
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(vocabulary / RANKS)
    source = gigatoken.BytesSource(corpus.read_bytes(), separator=SEPARATOR)
    parallel = harness.threads() != 1

    def encode() -> Callable[[], Ids]:
        rows = tokenizer.encode_batch(source, parallel=parallel)
        return lambda: np.asarray(awkward.flatten(rows))

    return encode


PREPARE: dict[str, Callable[[Path, Path], Encode]] = {
    "minillm": prepare_minillm,
    "tiktoken": prepare_tiktoken,
    "tokenizers": prepare_tokenizers,
    "gigatoken": prepare_gigatoken,
}

if __name__ == "__main__":
    sys.exit(app())
