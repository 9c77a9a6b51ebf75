"""How long does it take to train a 32k byte-level BPE vocabulary, and in how much memory?

Rivals: rustbpe, Hugging Face tokenizers, gigatoken. Everyone gets the same file, cuts it into
documents at `<|endoftext|>`, splits these with GPT-2's pattern and learns the same number of
tokens; reading the file is part of the job. minillm runs in its three tie modes, and what was
learned is compared: `id` must equal rustbpe and `hf` must equal tokenizers, token by token.

    python benchmarks/train_bpe.py CORPUS [--vocab-size 32000] [--repeats 5] [--only NAMES]
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

import harness
from harness import RESULTS, SEPARATOR, Contender
from tables import table

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTES_AND_SEPARATOR = 257

CONTENDERS = (
    Contender("minillm", "minillm"),
    Contender("minillm-id", "minillm"),
    Contender("minillm-hf", "minillm"),
    Contender("rustbpe", "rustbpe"),
    Contender("tokenizers", "tokenizers"),
    Contender("gigatoken", "gigatoken"),
)
MUST_AGREE = (("minillm-id", "rustbpe"), ("minillm-hf", "tokenizers"))

app = App(name="train_bpe")


@app.default
def main(
    corpus: Path,
    *,
    vocab_size: int = 32_000,
    repeats: int = 5,
    only: Sequence[str] = (),
    threads: int = 0,
    out: Path = RESULTS / "train_bpe.json",
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone on one corpus.

    Args:
        corpus: Text file; documents end at <|endoftext|>.
        vocab_size: Ids: 256 bytes, the separator, and what is learned.
        repeats: Samples of each contender.
        only: Contenders to run; all if none is named.
        threads: Threads for each contender; 0 takes every core.
        out: File of the result.
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    if worker is not None and report is not None:
        harness.answer(work(worker, corpus, vocab_size), report)
        return 0
    contenders = harness.chosen(CONTENDERS, only, threads=threads)
    samples = harness.measure(
        __file__, contenders, [str(corpus), f"--vocab-size={vocab_size}"], repeats=repeats
    )
    facts = {
        "corpus": harness.describe_corpus(corpus),
        "vocab_size": vocab_size,
        "threads": threads or "all",
    }
    harness.write_result(out, f"train a vocabulary of {vocab_size}", contenders, samples, facts)
    print(table(out))
    return report_disagreement(json.loads(out.read_text())["contenders"])


def report_disagreement(rows: dict[str, Any]) -> int:
    """1, and a line on stderr for each pair, if two that must agree learned different tokens."""
    learned = {name: row["tokens_sha256"] for name, row in rows.items()}
    disagree = [
        (ours, theirs)
        for ours, theirs in MUST_AGREE
        if ours in learned and theirs in learned and learned[ours] != learned[theirs]
    ]
    for ours, theirs in disagree:
        print(f"error: {ours} and {theirs} learned different tokens", file=sys.stderr)
    return 1 if disagree else 0


def work(contender: str, corpus: Path, vocab_size: int) -> harness.Sample:
    """One job, measured: from the file to the learned tokens in order."""
    n_learned = vocab_size - BYTES_AND_SEPARATOR
    job = JOBS[contender](corpus, n_learned)
    learned, sample = harness.timed(job)
    tokens = list(learned())
    digest = hashlib.sha256()
    for token in tokens:
        digest.update(len(token).to_bytes(4, "little") + token)
    return {**sample, "tokens": len(tokens), "tokens_sha256": digest.hexdigest()}


Learned = Callable[[], Iterable[bytes]]
"""Tells afterwards, outside the measurement, which tokens were learned."""
Job = Callable[[], Learned]


def prepare_minillm(corpus: Path, n_learned: int, tie_break: Literal["lex", "id", "hf"]) -> Job:
    """The package's own trainer."""
    from minillm.tokenizer import Tokenizer

    def job() -> Learned:
        tokenizer = Tokenizer.train(
            [corpus],
            n_learned + BYTES_AND_SEPARATOR,
            special_tokens=[SEPARATOR],
            pattern="gpt2",
            tie_break=tie_break,
            threads=harness.threads(),
        )
        return lambda: (left + right for left, right in tokenizer.merges)

    return job


def prepare_rustbpe(corpus: Path, n_learned: int) -> Job:
    """rustbpe: takes texts, has no special tokens."""
    import rustbpe

    def job() -> Learned:
        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(
            harness.documents(corpus), vocab_size=n_learned + 256, pattern=GPT2_PATTERN
        )
        return lambda: (bytes(token) for token, _ in tokenizer.get_mergeable_ranks()[256:])

    return job


def prepare_tokenizers(corpus: Path, n_learned: int) -> Job:
    """Hugging Face: texts, because its own file reader trains on single lines."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    def job() -> Learned:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        trainer = trainers.BpeTrainer(
            vocab_size=n_learned + BYTES_AND_SEPARATOR,
            special_tokens=[SEPARATOR],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(harness.documents(corpus), trainer)
        return lambda: byte_level_tokens(json.loads(tokenizer.to_str())["model"]["merges"])

    return job


def prepare_gigatoken(corpus: Path, n_learned: int) -> Job:
    """gigatoken: reads the file itself and cuts it at the separator."""
    import gigatoken

    def job() -> Learned:
        source = gigatoken.TextFileSource([corpus], separator=SEPARATOR)
        _, merges = gigatoken.train_bpe(
            source, n_learned + BYTES_AND_SEPARATOR, [SEPARATOR], tie_breaking="huggingface"
        )
        return lambda: (left + right for left, right in merges)

    return job


def byte_level_tokens(merges: Iterable[Sequence[str]]) -> Iterable[bytes]:
    """Hugging Face writes a token's bytes as printable characters; this reads them back."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of.update({chr(256 + index): byte for index, byte in enumerate(others)})
    for left, right in merges:
        yield bytes(byte_of[character] for character in left + right)


JOBS: dict[str, Callable[[Path, int], Job]] = {
    "minillm": lambda corpus, n: prepare_minillm(corpus, n, "lex"),
    "minillm-id": lambda corpus, n: prepare_minillm(corpus, n, "id"),
    "minillm-hf": lambda corpus, n: prepare_minillm(corpus, n, "hf"),
    "rustbpe": prepare_rustbpe,
    "tokenizers": prepare_tokenizers,
    "gigatoken": prepare_gigatoken,
}

if __name__ == "__main__":
    sys.exit(app())
