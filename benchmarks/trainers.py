"""The trainers that are compared: each one's job, from files of text to the tokens that it learned.

Everyone gets the same files, cuts them into documents at `<|endoftext|>`, splits these with GPT-2's
pattern and learns the same number of tokens; reading the files is part of the job. A rival is
called in the way that its own documents show for large corpora, with the fastest of its readers
that keeps documents apart. What was learned is hashed, and those who break ties by the same rule
must have learned the same: rustbpe and bpeasy as `id`; tokenizers, gigatoken and ffbpe as `hf`.

Left out, because they answer another question: sentencepiece (works on normalized characters, not
on bytes cut by GPT-2's pattern); wordchipper, splintr and rs-bpe (their Python packages only
encode); YouTokenToMe (no longer maintained, no wheels).
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import harness
from harness import SEPARATOR, Contender
from vocabularies import GPT2_PATTERN

BYTES_AND_SEPARATOR = 257
ANY_LENGTH = 1 << 20

CONTENDERS = (
    Contender("minillm", "minillm"),
    Contender("minillm-id", "minillm"),
    Contender("minillm-hf", "minillm"),
    Contender("minillm-command", "minillm"),
    Contender("gigatoken", "gigatoken"),
    Contender("ffbpe", "ffbpe"),
    Contender("rustbpe", "rustbpe"),
    Contender("bpeasy", "bpeasy"),
    Contender("tokenizers", "tokenizers"),
)
MUST_AGREE = (
    ("minillm-hf", "minillm-command"),
    ("minillm-hf", "gigatoken"),
    ("minillm-hf", "ffbpe"),
    ("minillm-hf", "tokenizers"),
    ("minillm-id", "rustbpe"),
    ("minillm-id", "bpeasy"),
)

Learned: TypeAlias = Callable[[], Iterable[bytes]]
"""Tells afterwards, outside the measurement, which tokens were learned."""
Job: TypeAlias = Callable[[], Learned]


def work(contender: str, files: Sequence[Path], vocab_size: int) -> harness.Sample:
    """One job, measured: from the files to the learned tokens in order."""
    n_learned = vocab_size - BYTES_AND_SEPARATOR
    if contender == "minillm-command":
        learned, sample = run_command(files, vocab_size)
    else:
        learned, sample = harness.timed(JOBS[contender](files, n_learned))
    return {**sample, **fingerprint(learned())}


def fingerprint(learned: Iterable[bytes]) -> dict[str, Any]:
    """Number and hash of the learned tokens, in their order."""
    tokens = list(learned)
    digest = hashlib.sha256()
    for token in tokens:
        digest.update(len(token).to_bytes(4, "little") + token)
    return {"tokens": len(tokens), "tokens_sha256": digest.hexdigest()}


def disagreements(rows: dict[str, Any]) -> list[tuple[str, str]]:
    """Those that must have learned the same tokens and have not."""
    learned = {name: row["tokens_sha256"] for name, row in rows.items()}
    return [
        (ours, theirs)
        for ours, theirs in MUST_AGREE
        if ours in learned and theirs in learned and learned[ours] != learned[theirs]
    ]


def run_command(files: Sequence[Path], vocab_size: int) -> tuple[Learned, harness.Sample]:
    """`minillm-bpe train` as a user starts it, from the first to the last moment of the process."""
    from minillm.tokenizer import Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tokenizer.json"
        command = [str(Path(sys.executable).with_name("minillm-bpe")), "train", *map(str, files)]
        command += [f"--vocab-size={vocab_size}", "--tie-break=hf", "--quiet", f"--out={out}"]
        command += [f"--threads={harness.threads()}"]
        sample = harness.timed_command(command)
        merges = Tokenizer.load(out).merges
    return lambda: (left + right for left, right in merges), sample


def prepare_minillm(
    files: Sequence[Path], n_learned: int, tie_break: Literal["lex", "id", "hf"]
) -> Job:
    """The package's own trainer."""
    from minillm.tokenizer import Tokenizer

    def job() -> Learned:
        tokenizer = Tokenizer.train(
            files,
            n_learned + BYTES_AND_SEPARATOR,
            special_tokens=[SEPARATOR],
            pattern="gpt2",
            tie_break=tie_break,
            threads=harness.threads(),
        )
        return lambda: (left + right for left, right in tokenizer.merges)

    return job


def prepare_rustbpe(files: Sequence[Path], n_learned: int) -> Job:
    """rustbpe: takes texts, has no special tokens."""
    import rustbpe

    def job() -> Learned:
        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(
            harness.documents(*files), vocab_size=n_learned + 256, pattern=GPT2_PATTERN
        )
        return lambda: (bytes(token) for token, _ in tokenizer.get_mergeable_ranks()[256:])

    return job


def prepare_bpeasy(files: Sequence[Path], n_learned: int) -> Job:
    """bpeasy: takes texts, has no special tokens, and wants a longest token."""
    import bpeasy

    def job() -> Learned:
        ranks: dict[bytes, int] = bpeasy.train_bpe(
            harness.documents(*files), GPT2_PATTERN, ANY_LENGTH, n_learned + 256
        )
        return lambda: sorted(ranks, key=ranks.__getitem__)[256:]

    return job


def prepare_ffbpe(files: Sequence[Path], n_learned: int) -> Job:
    """ffbpe: texts through its counter, which was faster than its reader of files.

    With the alphabet in Hugging Face's order, the smallest pair of ids is Hugging Face's choice.
    """
    from ffbpe import BpeTrainer, PreTokenizer

    def job() -> Learned:
        counter = PreTokenizer([SEPARATOR]).word_counter()
        counter.add_source(harness.documents(*files))
        trainer = BpeTrainer(
            [SEPARATOR], initial_alphabet="byte_level", tie_break="smallest_pair_id"
        )
        trainer.add_word_counter(counter)
        trainer.train(n_learned + BYTES_AND_SEPARATOR)
        ids = trainer.vocab
        return lambda: sorted(ids, key=ids.__getitem__)[BYTES_AND_SEPARATOR:]

    return job


def prepare_tokenizers(files: Sequence[Path], n_learned: int) -> Job:
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
        tokenizer.train_from_iterator(harness.documents(*files), trainer)
        return lambda: byte_level_tokens(json.loads(tokenizer.to_str())["model"]["merges"])

    return job


def prepare_gigatoken(files: Sequence[Path], n_learned: int) -> Job:
    """gigatoken: reads the files itself and cuts them at the separator."""
    import gigatoken

    def job() -> Learned:
        source = gigatoken.TextFileSource(list(files), separator=SEPARATOR)
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


JOBS: dict[str, Callable[[Sequence[Path], int], Job]] = {
    "minillm": lambda files, n: prepare_minillm(files, n, "lex"),
    "minillm-id": lambda files, n: prepare_minillm(files, n, "id"),
    "minillm-hf": lambda files, n: prepare_minillm(files, n, "hf"),
    "gigatoken": prepare_gigatoken,
    "ffbpe": prepare_ffbpe,
    "rustbpe": prepare_rustbpe,
    "bpeasy": prepare_bpeasy,
    "tokenizers": prepare_tokenizers,
}
