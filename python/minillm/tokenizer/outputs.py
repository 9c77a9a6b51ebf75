"""What a command may write: asked before the work, because afterwards hours may be lost."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from minillm.messages import UsageError, with_hint
from minillm.tokenizer.inputs import Files


def token_files(out: Path) -> list[Path]:
    """The token file `out`, its index and its manifest."""
    return [out, out.with_suffix(".idx"), out.with_suffix(".json")]


def tokenizer_files(out: Path, sizes: Sequence[int]) -> list[Path]:
    """`out`, or `tokenizer-8000.json` and so on beside it where there are several sizes."""
    if len(sizes) == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{size}{out.suffix}") for size in sizes]


def prepare(out: Path, written: Iterable[Path], *, read: Iterable[Path]) -> None:
    """Makes the folder of `out`, after a look at all that would be written there.

    Args:
        out: What the user passed as `--out`.
        written: The files that come of it. One that exists is replaced, so it must not be a folder
            or a device (`/dev/null` would become a file), nor an input.
        read: The inputs; those that are not there are somebody else's to refuse.

    Raises:
        UsageError: Naming the file and what is wrong with it.
    """
    inputs = [path for path in read if path.exists()]
    for path in filter(os.path.lexists, written):
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise UsageError(f"--out `{path}` is {kind}, expected a file")
        for source in filter(path.samefile, inputs):
            error = UsageError(f"--out `{out}` would overwrite `{source}`, which is read")
            raise with_hint(error, "pass another --out")
    for folder in out.parents:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--out is `{out}`, but `{folder}` is a file and not a folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--out is `{out}`, but nothing may be written into `{out.parent}`")


def prepare_token_files(
    corpus: Files,
    out: Path,
    val_fraction: float,
    *,
    part: tuple[int, int] | None = None,
    read: Sequence[Path] = (),
) -> Path | None:
    """Makes the folder of `out`, and tells where the validation part goes, if there is one.

    Args:
        corpus: The files that will be read.
        out: The token file; index and manifest stand beside it.
        val_fraction: Part of the documents for validation.
        part: Number and count of parts, of which `out` is one.
        read: Files besides the corpus that must not be overwritten.

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
