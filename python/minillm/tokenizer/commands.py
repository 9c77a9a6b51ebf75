"""The command `minillm-bpe`: train a tokenizer.

Results for machines (`--json`, decoded text) go to stdout, everything for people to stderr.
Without files, it reads standard input.
"""

from __future__ import annotations

import sys
import time
from io import BufferedReader
from pathlib import Path
from typing import Annotated, cast

from cyclopts import App, Parameter

from minillm import _core
from minillm.messages import UsageError, say, with_hint
from minillm.tokenizer.corpus import cores
from minillm.tokenizer.files import write_atomically
from minillm.tokenizer.progress import drawn
from minillm.tokenizer.report import show, train_report
from minillm.tokenizer.tokenizer import END_OF_TEXT, TieBreak

app = App(name="minillm-bpe", help="Byte-level BPE: text to tokens and back.")


@app.command
def train(
    *files: Path,
    vocab_size: int,
    out: Path = Path("tokenizer.json"),
    special: Annotated[tuple[str, ...], Parameter(negative=())] = (END_OF_TEXT,),
    pattern: str = "gpt2",
    tie_break: TieBreak = "lex",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    threads: int = 0,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Learn a vocabulary from text.

    Args:
        files: Text files; special tokens in them separate documents. None: standard input.
        vocab_size: Number of ids: 256 bytes, then merges, then special tokens.
        out: Where the tokenizer goes.
        special: Special token; repeat for several. Given once, the default is replaced.
        pattern: How text is split before merging: gpt2, cl100k, llama3, qwen2, o200k, a regex, or
            "none".
        tie_break: Order of equally frequent pairs: lex (greatest bytes), id (as rustbpe), hf (as
            Hugging Face tokenizers).
        min_frequency: Pairs that occur less often are not merged.
        max_token_length: Longest token in bytes.
        threads: Number of threads; 0 takes every core. The result does not depend on it.
        json: Print the report as JSON on stdout.
        quiet: Print neither progress nor report.
    """
    _refuse_folder(out)
    began = time.monotonic()
    progress = _core.Progress()
    with drawn(progress, quiet=quiet):
        trained = _core.train(
            _corpus(files),
            vocab_size,
            special_tokens=list(special),
            specials_first=False,
            pattern=None if pattern == "none" else pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_length,
            threads=threads or cores(),
            progress=progress,
        )
    write_atomically(out, trained.bpe.to_json())
    if trained.stopped_early is not None:
        size = trained.bpe.vocab_size
        say(f"warning: --vocab-size is {vocab_size}, got {size}: {trained.stopped_early}")
    report = train_report(trained, out, elapsed_s=time.monotonic() - began)
    show(report, as_json=json, quiet=quiet)


def _corpus(files: tuple[Path, ...]) -> list[str] | BufferedReader:
    """The files to read, or else standard input.

    The extension reads standard input through Python's object and not by itself, because a read
    that waits for a slow writer hears Ctrl-C only in Python.
    """
    if files:
        return [str(file) for file in files]
    if sys.stdin.isatty():
        raise with_hint(
            UsageError("no files given, and standard input is a terminal"),
            "name text files, or pipe text in: `cat corpus.txt | minillm-bpe ...`",
        )
    return cast("BufferedReader", sys.stdin.buffer)


def _refuse_folder(out: Path) -> None:
    """Fails before the work and not after it."""
    if out.is_dir():
        raise UsageError(f"--out `{out}` is a folder, expected a file")
