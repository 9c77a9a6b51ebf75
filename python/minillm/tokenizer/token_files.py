"""Files of text into token files: what `minillm-bpe encode` and `Tokenizer.encode_files` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minillm import _core
from minillm.messages import UsageError, with_hint
from minillm.tokenizer.corpus import cores
from minillm.tokenizer.inputs import Files
from minillm.tokenizer.outputs import prepare, token_files


def encode_files(
    corpus: Files,
    bpe: _core.Bpe,
    out: Path,
    *,
    val_fraction: float,
    dtype: str | None,
    threads: int,
    eot: str,
    separator: str,
    sync_every: int,
    resume: bool,
    part: tuple[int, int] | None = None,
    progress: _core.Progress,
    read: Sequence[Path] = (),
) -> _core.Encoded:
    """Encodes files into `out` and, for a part of the documents, `val.bin` beside it.

    Args:
        corpus: The files.
        bpe: What encodes.
        out: The token file; index and manifest stand beside it.
        val_fraction: Part of the documents, chosen by a hash of their text, for `val.bin`.
        dtype: `uint16` or `uint32`; None takes the narrower one if the vocabulary allows it.
        threads: How many; 0 takes every core.
        eot: Where the id of the separator stands: `append`, `prepend` or `none`.
        separator: Special token between documents in text.
        sync_every: After so many bytes of output, the state is saved on the disk.
        resume: Goes on from the state that was saved last.
        part: Number and count of parts, of which `out` is one.
        progress: Told how far it is.
        read: Files besides the corpus that must not be overwritten.

    Raises:
        UsageError: As `prepare_token_files`.
        OSError: If a file cannot be read or written.
    """
    val_out = prepare_token_files(corpus, out, val_fraction=val_fraction, part=part, read=read)
    return _core.encode_files(
        corpus,
        bpe,
        out,
        val_out=val_out,
        val_fraction=val_fraction,
        dtype=dtype,
        threads=threads or cores(),
        eot=eot,
        separator=separator,
        sync_every=sync_every,
        resume=resume,
        part=part,
        progress=progress,
    )


def prepare_token_files(
    corpus: Files,
    out: Path,
    *,
    val_fraction: float,
    part: tuple[int, int] | None = None,
    read: Sequence[Path] = (),
) -> Path | None:
    """Makes the folder of `out`, and tells where the validation part goes, if there is one.

    Args:
        corpus: As for `encode_files`, and so is the rest.
        out: The token file.
        val_fraction: Part of the documents for validation.
        part: Number and count of parts.
        read: Files besides the corpus.

    Raises:
        UsageError: If an option is out of range, or an output would overwrite what is read.
    """
    if not 0 <= val_fraction < 1:
        raise UsageError(f"--val-fraction is {val_fraction}, expected 0 or more and less than 1")
    val_out = out.with_name("val.bin") if val_fraction > 0 else None
    if val_out and part is not None:
        val_out = part_of(val_out, part)
    if val_out and val_out.stem == out.stem:
        raise with_hint(
            UsageError(f"--out is `{out}`, which is where the validation part goes"),
            "pass `--val-fraction 0` to put everything there",
        )
    inputs = corpus.on_disk
    written = token_files(out) + (token_files(val_out) if val_out else [])
    prepare(out, written, read=[*inputs, *read])
    prepare(out, [out.with_name("tokenizer.json")], read=inputs)
    return val_out


def part_of(out: Path, part: tuple[int, int]) -> Path:
    """The name of one part of `out`: `train-002-of-008.bin`."""
    index, of = part
    return out.with_name(f"{out.stem}-{index:03}-of-{of:03}{out.suffix}")
