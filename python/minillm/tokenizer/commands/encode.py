"""`minillm-bpe encode`: text to a token file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import UInt16

from minillm import _core
from minillm.messages import say
from minillm.tokenizer.inputs import TEXT_FIELD, Files, warn_of_field
from minillm.tokenizer.progress import drawn
from minillm.tokenizer.report import encode_report, show
from minillm.tokenizer.special import END_OF_TEXT
from minillm.tokenizer.token_files import encode_files
from minillm.tokenizer.tokenizer import Tokenizer


def encode(
    *files: Path,
    tokenizer: Path = Path("tokenizer.json"),
    out: Path = Path("data/train.bin"),
    field: str = TEXT_FIELD,
    separator: str = END_OF_TEXT,
    val_fraction: float = 0.01,
    dtype: Literal["auto", "uint16", "uint32"] = "auto",
    threads: UInt16 = 0,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Turn text into a token file, its index and its manifest.

    Args:
        files: Text files, in which `--separator` separates documents; jsonl files, of which each
            line holds one; folders of them; patterns such as 'data/**/*.txt'; `-` for standard
            input, which is also read if nothing is given. All of them may be packed: .gz, .zst.
        tokenizer: The `tokenizer.json` to encode with; it is copied beside the token file.
        out: The token file. Its validation twin is `val.bin` in the same folder.
        field: The field of jsonl files that is the text; `meta.text` is `text` in the object
            `meta`.
        separator: Special token of the tokenizer that separates documents in text; its id follows
            each document of any file.
        val_fraction: Part of the documents, chosen by a hash of their text, that go to `val.bin`.
        dtype: Bytes per id; auto takes uint16 where the vocabulary allows it.
        threads: Number of threads; 0 takes every core. The result does not depend on it.
        json: Print the report as JSON on stdout.
        quiet: Print neither progress nor report.
    """
    source = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    copy = out.with_name("tokenizer.json")
    corpus = Files.or_stdin(files, field=field)
    warn_of_field(field, corpus)
    encoder = Tokenizer.load(source)
    began = time.monotonic()
    progress = _core.Progress()
    with drawn(progress, quiet=quiet):
        encoded = encode_files(
            corpus,
            encoder.bpe,
            out,
            val_fraction=val_fraction,
            dtype=None if dtype == "auto" else dtype,
            threads=threads,
            separator=separator,
            progress=progress,
            read=[source],
        )
    if not (copy.exists() and copy.samefile(source)):
        encoder.save(copy)
    if encoded.val is not None and encoded.val.documents == 0:
        say(
            f"warning: no document fell to `{encoded.val.path}`: {val_fraction} of them are too few"
        )
    show(encode_report(encoded, elapsed_s=time.monotonic() - began), as_json=json, quiet=quiet)
