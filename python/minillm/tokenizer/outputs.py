"""What a command may write: asked before the work, because afterwards hours may be lost."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from minillm.messages import UsageError, with_hint


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
