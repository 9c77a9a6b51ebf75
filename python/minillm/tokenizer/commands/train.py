"""`minillm-bpe train`: text to a vocabulary."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import UInt16, UInt32, UInt64
from cyclopts.validators import Number

from minillm import _core
from minillm.messages import say
from minillm.tokenizer.corpus import cores, files_or_stdin
from minillm.tokenizer.files import write_atomically
from minillm.tokenizer.outputs import prepare
from minillm.tokenizer.progress import drawn
from minillm.tokenizer.report import show, train_report
from minillm.tokenizer.tokenizer import END_OF_TEXT, TieBreak


def train(
    *files: Path,
    vocab_size: UInt32,
    out: Path = Path("tokenizer.json"),
    special: Annotated[tuple[str, ...], Parameter(negative=())] = (END_OF_TEXT,),
    pattern: str = "gpt2",
    tie_break: TieBreak = "lex",
    min_frequency: UInt64 = 1,
    max_token_length: Annotated[int, Parameter(validator=Number(gte=1, lt=1 << 32))] | None = None,
    threads: UInt16 = 0,
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
    prepare(out, [out], read=files)
    began = time.monotonic()
    progress = _core.Progress()
    with drawn(progress, quiet=quiet):
        trained = _core.train(
            files_or_stdin(files),
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
