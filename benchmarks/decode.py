"""How fast do ids become bytes again, with GPT-2's vocabulary?

Rivals: gigatoken, tiktoken, Hugging Face tokenizers, each called from Python in its own process,
with an array of ids: of 16 bits, as it lies in a token file, or of 32 for gigatoken.
`tiktoken-list` has them as a list already, the form that it takes fastest; `tokenizers` takes
nothing else, and gives text and not bytes. The ids are those of a corpus, repeated as often as it
takes. Each process decodes once to warm up and then some times more, of which the median counts;
the hash of the bytes must be everyone's.

`copy` is what nobody can beat by much: copying as many bytes into a new `bytes`.

    python benchmarks/decode.py CORPUS --vocabulary FOLDER [--ids 100000000] [--repeats 5]
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import App, Parameter
from numpy.typing import NDArray

import harness
from harness import RESULTS, Contender
from tables import table
from vocabularies import GPT2, ranks

if TYPE_CHECKING:
    import tiktoken

    from minillm.tokenizer import Tokenizer

CONTENDERS = (
    Contender("minillm", "minillm"),
    Contender("minillm-1-thread", "minillm"),
    Contender("gigatoken", "gigatoken"),
    Contender("tiktoken", "tiktoken"),
    Contender("tiktoken-list", "tiktoken"),
    Contender("tokenizers", "tokenizers"),
    Contender("copy", "numpy"),
)

Ids = NDArray[np.uint16]
Decode = Callable[[], bytes | str]

app = App(name="decode")


@app.default
def main(
    corpus: Path,
    *,
    vocabulary: Path,
    ids: int = 100_000_000,
    corpus_bytes: int = 30_000_000,
    warm_calls: int = 3,
    repeats: int = 5,
    max_seconds: float = 600.0,
    only: Sequence[str] = (),
    out: Path = RESULTS / "decode.json",
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone on the ids of one corpus.

    Args:
        corpus: UTF-8 text; documents end at <|endoftext|>. For a worker, the array of its ids.
        vocabulary: Folder with tiktoken/r50k_base.tiktoken and gpt2/encoder.json, gpt2/vocab.bpe.
        ids: How many ids are decoded.
        corpus_bytes: How much of the text is encoded; its ids are repeated.
        warm_calls: Calls after the first in each process.
        repeats: Processes of each contender.
        max_seconds: A contender that took this long in all gets no more turns.
        only: Contenders to run; all if none is named.
        out: File of the result.
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    if worker is not None and report is not None:
        harness.answer(work(worker, np.load(corpus), vocabulary, ids, warm_calls), report)
        return 0
    if message := harness.unusable([corpus]):
        harness.say(f"error: {message}")
        return 2
    contenders = harness.chosen(CONTENDERS, only, threads=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ids.npy"
        np.save(file, encoded(corpus, corpus_bytes, vocabulary))
        arguments = [str(file), f"--vocabulary={vocabulary}", f"--ids={ids}"]
        arguments.append(f"--warm-calls={warm_calls}")
        measured = harness.measure(
            __file__, contenders, arguments, repeats=repeats, max_seconds=max_seconds
        )
    decoded = next((own[0]["decoded"] for own in measured.samples.values() if own), 0)
    facts = {
        "corpus": {**harness.describe_corpus(corpus), "bytes": decoded},
        "ids": ids,
        "threads": "all",
    }
    question = f"decode {ids:,} ids of GPT-2's vocabulary"
    sound = harness.write_comparison(out, question, contenders, measured, facts)
    print(table(out))
    return 0 if sound and harness.agree(out, "decoded", "bytes_sha256") else 1


def encoded(corpus: Path, n_bytes: int, vocabulary: Path) -> Ids:
    """The ids of the start of a text, separators included."""
    with corpus.open("rb") as file:
        text = file.read(n_bytes).decode("utf-8", errors="ignore")
    ids = minillm_tokenizer(vocabulary).encode_to_numpy(text, allowed_special="all")
    return ids.astype(np.uint16, copy=False)


def work(
    contender: str, base: Ids, vocabulary: Path, n_ids: int, warm_calls: int
) -> harness.Sample:
    """One process: the first call, then the warm ones."""
    decode = PREPARE[contender](base, vocabulary, n_ids)
    first, sample = harness.timed(decode)
    raw = first.encode() if isinstance(first, str) else first
    answer = {"decoded": len(raw), "bytes_sha256": hashlib.sha256(raw).hexdigest()}
    del first, raw
    warm_s = []
    for _ in range(warm_calls):
        decoded, again = harness.timed(decode)
        warm_s.append(again["wall_s"])
        del decoded
    return {
        "first_s": sample["wall_s"],
        "warm_s": statistics.median(warm_s or [sample["wall_s"]]),
        "first_cpu_s": sample["cpu_s"],
        "peak_rss_bytes": sample["peak_rss_bytes"],
        **answer,
    }


def minillm_tokenizer(vocabulary: Path) -> Tokenizer:
    """The vocabulary in minillm."""
    from minillm.tokenizer import Tokenizer

    return Tokenizer.from_ranks(vocabulary / GPT2.file, GPT2.special_tokens, pattern="gpt2")


def listed(base: Ids, n_ids: int) -> list[int]:
    """`n_ids` ids as a list; those that repeat share their objects."""
    ids: list[int] = base.tolist()
    return (ids * -(-n_ids // len(ids)))[:n_ids]


def prepare_minillm(base: Ids, vocabulary: Path, n_ids: int) -> Decode:
    """An array of 16 bits, every core."""
    tokenizer, ids = minillm_tokenizer(vocabulary), np.resize(base, n_ids)
    return lambda: tokenizer.decode_bytes(ids)


def prepare_minillm_one_thread(base: Ids, vocabulary: Path, n_ids: int) -> Decode:
    """An array of 16 bits, one thread."""
    tokenizer, ids = minillm_tokenizer(vocabulary), np.resize(base, n_ids)
    return lambda: tokenizer.decode_bytes(ids, threads=1)


def prepare_gigatoken(base: Ids, vocabulary: Path, n_ids: int) -> Decode:
    """An array of 32 bits, the only kind that it takes."""
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(vocabulary / GPT2.file)
    ids = np.resize(base, n_ids).astype(np.uint32)
    return lambda: tokenizer.decode(ids)


def tiktoken_encoding(vocabulary: Path) -> tiktoken.Encoding:
    """The vocabulary in tiktoken."""
    import tiktoken

    return tiktoken.Encoding(
        "r50k",
        pat_str=GPT2.regex,
        mergeable_ranks=ranks(vocabulary / GPT2.file),
        special_tokens=GPT2.special_tokens,
    )


def prepare_tiktoken(base: Ids, vocabulary: Path, n_ids: int) -> Decode:
    """An array of 16 bits; passed as it is, the call takes longer than with `tolist` before."""
    encoding, ids = tiktoken_encoding(vocabulary), np.resize(base, n_ids)
    return lambda: encoding.decode_bytes(ids.tolist())


def prepare_tiktoken_list(base: Ids, vocabulary: Path, n_ids: int) -> Decode:
    """A list, there before the clock starts."""
    encoding, ids = tiktoken_encoding(vocabulary), listed(base, n_ids)
    return lambda: encoding.decode_bytes(ids)


def prepare_tokenizers(base: Ids, vocabulary: Path, n_ids: int) -> Decode:
    """A list; it becomes text."""
    from tokenizers import Tokenizer, decoders, models

    folder = vocabulary / "gpt2"
    tokenizer = Tokenizer(
        models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    )
    tokenizer.decoder = decoders.ByteLevel()
    ids = listed(base, n_ids)
    return lambda: tokenizer.decode(ids, skip_special_tokens=False)


def prepare_copy(base: Ids, vocabulary: Path, n_ids: int) -> Decode:
    """The bytes as they are, once more."""
    source = memoryview(minillm_tokenizer(vocabulary).decode_bytes(np.resize(base, n_ids)))
    return lambda: bytes(source)


PREPARE: dict[str, Callable[[Ids, Path, int], Decode]] = {
    "minillm": prepare_minillm,
    "minillm-1-thread": prepare_minillm_one_thread,
    "gigatoken": prepare_gigatoken,
    "tiktoken": prepare_tiktoken,
    "tiktoken-list": prepare_tiktoken_list,
    "tokenizers": prepare_tokenizers,
    "copy": prepare_copy,
}

if __name__ == "__main__":
    sys.exit(app())
