"""The command `minillm-bpe`: train a tokenizer, encode text to token files, decode them.

Results for machines (`--json`, decoded text) go to stdout, everything for people to stderr.
Without files, `train` and `encode` read standard input.
"""

from __future__ import annotations

import os
import sys
import time
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Literal, cast

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt, UInt16, UInt32, UInt64
from cyclopts.validators import Number

from minillm import _core
from minillm.messages import UsageError, say, with_hint
from minillm.tokenizer.corpus import cores
from minillm.tokenizer.files import named_in_errors, write_atomically
from minillm.tokenizer.outputs import prepare, token_files
from minillm.tokenizer.progress import drawn
from minillm.tokenizer.report import encode_report, show, train_report
from minillm.tokenizer.tokenizer import END_OF_TEXT, TieBreak, Tokenizer

DECODE_TOKENS = 1 << 20

app = App(name="minillm-bpe", help="Byte-level BPE: text to tokens and back.")


@app.command
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


@app.command
def encode(
    *files: Path,
    tokenizer: Path = Path("tokenizer.json"),
    out: Path = Path("data/train.bin"),
    val_fraction: float = 0.01,
    dtype: Literal["auto", "uint16", "uint32"] = "auto",
    threads: UInt16 = 0,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Turn text into a token file, its index and its manifest.

    Args:
        files: Text files; `<|endoftext|>` in them separates documents. None: standard input.
        tokenizer: The `tokenizer.json` to encode with; it is copied beside the token file.
        out: The token file. Its validation twin is `val.bin` in the same folder.
        val_fraction: Part of the documents, chosen by a hash of their text, that go to `val.bin`.
        dtype: Bytes per id; auto takes uint16 where the vocabulary allows it.
        threads: Number of threads; 0 takes every core. The result does not depend on it.
        json: Print the report as JSON on stdout.
        quiet: Print neither progress nor report.
    """
    if not 0 <= val_fraction < 1:
        raise UsageError(f"--val-fraction is {val_fraction}, expected 0 or more and less than 1")
    val_out = out.with_name("val.bin") if val_fraction > 0 else None
    if val_out and val_out.stem == out.stem:
        raise with_hint(
            UsageError(f"--out is `{out}`, which is where the validation part goes"),
            "pass `--val-fraction 0` to put everything there",
        )
    source = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    copy = out.with_name("tokenizer.json")
    corpus = _corpus(files)
    encoder = Tokenizer.load(source)
    written = token_files(out) + (token_files(val_out) if val_out else [])
    prepare(out, written, read=[*files, source])
    prepare(out, [copy], read=files)
    began = time.monotonic()
    progress = _core.Progress()
    with drawn(progress, quiet=quiet):
        encoded = _core.encode_files(
            corpus,
            encoder.bpe,
            out,
            val_out=val_out,
            val_fraction=val_fraction,
            dtype=None if dtype == "auto" else dtype,
            threads=threads or cores(),
            separator=END_OF_TEXT,
            progress=progress,
        )
    if not (copy.exists() and copy.samefile(source)):
        encoder.save(copy)
    if encoded.val is not None and encoded.val.documents == 0:
        say(f"warning: no document fell to `{val_out}`: {val_fraction} of them are too few")
    show(encode_report(encoded, elapsed_s=time.monotonic() - began), as_json=json, quiet=quiet)


@app.command
def decode(
    file: Path, *, tokenizer: Path | None = None, tokens: NonNegativeInt | None = None
) -> None:
    """Write the text of a token file to standard output, byte for byte.

    Args:
        file: A token file; without a manifest, 16-bit ids are assumed.
        tokenizer: By default the `tokenizer.json` beside the token file.
        tokens: Stop after this many tokens.
    """
    shard = _core.Shard(file)
    decoder = Tokenizer.load(tokenizer or file.with_name("tokenizer.json"))
    shard.check_tokenizer(decoder.sha256)
    end = len(shard) if tokens is None else min(tokens, len(shard))
    try:
        for start in range(0, end, DECODE_TOKENS):
            ids = shard.read(start, min(DECODE_TOKENS, end - start))
            # Its positions are those in this part of the file.
            with named_in_errors(file if start == 0 else f"{file}, from token {start} on"):
                text = decoder.decode_bytes(ids)
            sys.stdout.buffer.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough. Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
