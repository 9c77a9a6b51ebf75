"""`minillm-bpe encode`: text to a token file."""

import errno
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import UInt16

from minillm import _core
from minillm.messages import EXIT_RESUMABLE, UsageError, say
from minillm.tokenizer.inputs import TEXT_FIELD, Files, warn_of_field
from minillm.tokenizer.memory import Memory
from minillm.tokenizer.outputs import part_of, prepare_token_files
from minillm.tokenizer.progress import drawn
from minillm.tokenizer.report import Report, cost, show, size
from minillm.tokenizer.table import with_table
from minillm.tokenizer.tokenizer import Tokenizer

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def encode(
    *files: Path,
    tokenizer: Path = Path("tokenizer.json"),
    out: Path = Path("data/train.bin"),
    field: str = TEXT_FIELD,
    separator: str = _core.END_OF_TEXT,
    val_fraction: float = 0.01,
    dtype: Literal["auto", "uint16", "uint32"] = "auto",
    eot: Literal["append", "prepend", "none"] = "append",
    part: str | None = None,
    sync_every: Memory = 256_000_000,
    resume: bool = False,
    threads: UInt16 = 0,
    table: Annotated[bool, Parameter(negative="--no-table")] = True,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Turn text into a token file, its index and its manifest.

    Args:
        files: Text files, in which `--separator` separates documents; jsonl files, of which each
            line holds one; folders of them; patterns such as 'data/**/*.txt'; `-` for standard
            input, which is also read if nothing is given. All of them may be packed: .gz, .zst.
        tokenizer: The `tokenizer.json` to encode with; it is copied beside the token file.
        out: The token file. Its validation twin is `val.bin` in the same folder.
        field: The field of jsonl files that is the text; `meta.text` is `text` in the object
            `meta`.
        separator: Special token of the tokenizer that separates documents in text; its id marks
            the documents of any file.
        val_fraction: Part of the documents, chosen by a hash of their text, that go to `val.bin`.
        dtype: Bytes per id; auto takes uint16 where the vocabulary allows it.
        eot: Where the id of the separator stands: behind each document, before it, or nowhere.
        part: Encode one of several parts of the corpus: `2/8` writes `train-002-of-008.bin`. All
            parts, one behind the other, are what one encode writes; `minillm-bpe join` joins them.
        sync_every: After so much output, such as 4M or 1G, the state is saved on the disk.
        resume: Go on from the state that was saved last; the files are the same as without a break.
        threads: Number of threads; 0 takes every core. The result does not depend on it.
        table: Use the table that `train` wrote beside the tokenizer, if there is one. The result
            does not depend on it.
        json: Print the report as JSON on stdout.
        quiet: Print neither progress nor report.
    """
    parsed = None if part is None else _parse_part(part)
    if parsed is not None:
        out = part_of(out, parsed)
    source = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    copy = out.with_name("tokenizer.json")
    corpus = Files.or_stdin(files, field=field)
    warn_of_field(field, corpus)
    encoder = Tokenizer.load(source)
    val_out = prepare_token_files(corpus, out, val_fraction, part=parsed, read=[source])
    _tell_what_is_there(out, resume=resume, quiet=quiet)
    began = time.monotonic()
    progress = _core.Progress()
    try:
        with drawn(progress, quiet=quiet):
            encoded = _core.encode_files(
                corpus,
                with_table(encoder, source) if table else encoder,
                out,
                val_out=val_out,
                val_fraction=val_fraction,
                dtype=None if dtype == "auto" else dtype,
                threads=threads,
                eot=eot,
                separator=separator,
                sync_every=sync_every,
                resume=resume,
                part=parsed,
                progress=progress,
            )
    except OSError as error:
        if error.errno in NO_ROOM:
            free = shutil.disk_usage(out.parent).free
            error.add_note(f"{size(free)} are free in `{out.parent}`")
            if saved := _saved_bytes(out):
                error.add_note(f"make room, then go on from {size(saved)} of text with --resume")
        raise
    except KeyboardInterrupt:
        if not (saved := _saved_bytes(out)):
            raise
        say(f"error: interrupted\nhint: go on from {size(saved)} of text with --resume")
        return EXIT_RESUMABLE
    if not (copy.exists() and copy.samefile(source)):
        encoder.save(copy)
    if encoded.val is not None and encoded.val.documents == 0 and part is None:
        path = encoded.val.path
        say(f"warning: no document fell to `{path}`: {val_fraction} of them are too few")
    show(_report(encoded) | cost(began), as_json=json, quiet=quiet)
    return 0


def _report(encoded: _core.Encoded) -> Report:
    """What was written, from how much text."""
    report: Report = {"bytes": encoded.corpus_bytes, "dtype": encoded.train.dtype}
    shards = {"train": encoded.train} | ({"val": encoded.val} if encoded.val else {})
    for name, shard in shards.items():
        report |= {
            name: str(shard.path),
            f"{name}_tokens": shard.tokens,
            f"{name}_documents": shard.documents,
            f"{name}_bytes": shard.bytes,
        }
    tokens = sum(shard.tokens for shard in shards.values())
    return report | {
        "blank_documents": encoded.blank_documents,
        "bytes_per_token": encoded.corpus_bytes / tokens if tokens else None,
    }


def _saved_bytes(out: Path) -> int | None:
    """What `--resume` would go on from; that it cannot be told must not hide what went wrong."""
    with suppress(OSError, ValueError):
        return _core.unfinished_encode(out)
    return None


def _tell_what_is_there(out: Path, *, resume: bool, quiet: bool) -> None:
    """Says whether an earlier run goes on or is replaced; not being able to go on is said always.

    Raises:
        OSError: If that run is still going on.
        ValueError: If its state is damaged and to be resumed.
    """
    try:
        saved = _core.unfinished_encode(out)
    except ValueError:
        if resume:
            raise
        saved = None
    if resume and saved is None:
        say(f"nothing to resume for `{out}`: starting from the beginning")
    elif saved is not None and resume and not quiet:
        say(f"resuming `{out}` from {size(saved)} of text")
    elif saved and not resume:
        instead = f"--resume would have gone on from {size(saved)} of text"
        say(f"replacing an unfinished `{out}`: {instead}")


def _parse_part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    index, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= of:
        raise UsageError(f"--part is `{text}`, expected one such as 2/8")
    return index, of
