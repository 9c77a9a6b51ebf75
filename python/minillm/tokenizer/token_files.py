"""Where token files go: what `minillm-bpe encode` and `Tokenizer.encode_files` settle first."""

from collections.abc import Sequence
from pathlib import Path

from minillm.messages import UsageError, with_hint
from minillm.tokenizer.inputs import Files
from minillm.tokenizer.outputs import prepare, token_files


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
