"""`minillm-bpe train`: text to a vocabulary, or to several of different sizes."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import UInt16, UInt32, UInt64
from cyclopts.validators import Number

from minillm import _core
from minillm.files import replace_file
from minillm.messages import UsageError, say, with_hint
from minillm.tokenizer.inputs import TEXT_FIELD, Files, warn_of_field
from minillm.tokenizer.limits import warn_of_temp_dir
from minillm.tokenizer.memory import Memory
from minillm.tokenizer.outputs import prepare, tokenizer_files
from minillm.tokenizer.progress import drawn
from minillm.tokenizer.report import Report, Row, cost, longest_tokens, merge_rows, show, spilled
from minillm.tokenizer.table import table_of, write_table
from minillm.tokenizer.tokenizer import TieBreak, Tokenizer

SAMPLES = 8
# What differs between the sizes of one run.
SIZE_FACTS = ("vocabulary", "tokens", "bytes_per_token", "held_out_bytes_per_token", "tokenizer")


def train(
    *files: Path,
    from_counts: bool = False,
    vocab_size: tuple[UInt32, ...],
    out: Path = Path("tokenizer.json"),
    field: str = TEXT_FIELD,
    special: tuple[str, ...] = (),
    pattern: str | None = None,
    tie_break: TieBreak = "lex",
    min_frequency: UInt64 = 1,
    max_token_length: Annotated[int, Parameter(validator=Number(gte=1, lt=1 << 32))] | None = None,
    continue_from: Path | None = None,
    held_out: tuple[Path, ...] = (),
    weights: Annotated[tuple[UInt64, ...], Parameter(consume_multiple=True)] = (),
    threads: UInt16 = 0,
    max_memory: Memory | None = None,
    temp_dir: Path | None = None,
    table: Annotated[bool, Parameter(negative="--no-table")] = True,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Learn a vocabulary from text.

    Args:
        files: Text files, in which special tokens separate documents; jsonl files, of which each
            line holds one; folders of them; patterns such as 'data/**/*.txt'; `-` for standard
            input, which is also read if nothing is given. All of them may be packed: .gz, .zst.
        from_counts: The files are counts, as `minillm-bpe count` writes them, and are added up.
            Pattern and special tokens are then theirs.
        vocab_size: Number of ids: 256 bytes, then merges, then special tokens. Repeat for several
            from one run.
        out: Where the tokenizer goes. Of several, each has its size in its name:
            `tokenizer-8000.json`.
        field: The field of jsonl files that is the text; `meta.text` is `text` in the object
            `meta`.
        special: Special token; repeat for several. By default `<|endoftext|>`, or those of the
            tokenizer to continue from.
        pattern: How text is split before merging: gpt2, cl100k, llama3, qwen2, o200k, a regex, or
            "none". By default gpt2, or that of the tokenizer to continue from.
        tie_break: Order of equally frequent pairs: lex (greatest bytes), id (as rustbpe), hf (as
            Hugging Face tokenizers).
        min_frequency: Pairs that occur less often are not merged.
        max_token_length: Longest token in bytes.
        continue_from: A tokenizer whose merges are made first; its ids stay what they are.
        held_out: Files, as above, that are not trained on, to report how well they are compressed;
            repeat for several.
        weights: How often each argument counts, one whole number each: `--weights 3 1`. A file that
            is given twice counts twice, too.
        threads: Number of threads; 0 takes every core. The result does not depend on it.
        max_memory: Memory for counting and merging, such as 500MB or 2GiB; the interpreter's own 30
            MB and the vocabulary come on top. What finds no room while counting goes to disk; the
            result does not depend on it.
        temp_dir: Where on disk, by default the system's folder for temporary files.
        table: Write the most frequent pre-tokens with their ids beside the tokenizer
            (`tokenizer.table`), so that `encode` starts warm.
        json: Print the report as JSON on stdout.
        quiet: Print neither progress nor report.
    """
    sizes = sorted(set(vocab_size))
    outs = tokenizer_files(out, sizes)
    base = None if continue_from is None else Tokenizer.load(continue_from)
    texts = Files.of(())
    if not from_counts:
        texts = Files.or_stdin(files, field=field, weights=weights)
    held_out_files = Files.of(held_out, field=field)
    warn_of_field(field, texts, held_out_files)
    warn_of_temp_dir(temp_dir, max_memory)
    read = list(files) if from_counts else texts.on_disk
    _refuse_what_is_trained_on(held_out_files.paths, read)
    base_files = [] if continue_from is None else [continue_from, continue_from / "tokenizer.json"]
    inputs = [*read, *held_out_files.on_disk, *base_files]
    prepare(out, outs, read=inputs)
    prepare(out, map(table_of, outs), read=inputs)
    corpus: Files | _core.CountsFiles = texts
    if from_counts:
        corpus = _counts(files, weights, pattern=pattern, special=special)
        specials, pattern = corpus.special_tokens, corpus.pattern
    else:
        specials = list(special or ((_core.END_OF_TEXT,) if base is None else base.special_tokens))
        if pattern is None:
            pattern = "gpt2" if base is None else base.pattern
    began = time.monotonic()
    progress = _core.Progress()
    with drawn(progress, quiet=quiet):
        trained = _core.train(
            corpus,
            sizes[-1],
            smaller_sizes=sizes[:-1],
            base=base,
            special_tokens=specials,
            pattern=None if pattern == "none" else pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_length,
            weights=texts.weights,
            threads=threads,
            max_memory=max_memory,
            temp_dir=temp_dir,
            table_entries=_core.TABLE_ENTRIES if table else 0,
            progress=progress,
        )
        rows: list[Row] = []
        tokens = [*(n_tokens for _, n_tokens in trained.smaller), trained.corpus_tokens]
        for size, file, n_tokens in zip(sizes, outs, tokens, strict=True):
            bpe = trained.bpe
            if size < bpe.vocab_size:
                bpe = bpe.truncated(size)
            replace_file(file, bpe.to_json().encode())
            write_table(file, trained.table, bpe, is_fitted=bpe is trained.bpe)
            facts: Row = {"tokenizer": str(file), "vocabulary": len(bpe), "merges": bpe.n_merges}
            rows.append(facts | _compression("", trained.text_bytes, n_tokens))
            if held_out:
                measured = _core.measure(held_out_files, bpe, threads=threads, progress=progress)
                rows[-1] |= _compression("held_out_", *measured)
    got = trained.bpe.vocab_size
    for size in filter(lambda size: size > got, sizes):
        say(f"warning: --vocab-size is {size}, got {got}: {trained.stopped_early}")
    if held_out and rows[-1]["held_out_bytes_per_token"] is None:
        say(f"warning: --held-out: no text in {', '.join(f'`{path}`' for path in held_out)}")
    show(_report(trained, rows) | cost(began), as_json=json, quiet=quiet)


def _counts(
    files: Sequence[Path], weights: Sequence[int], *, pattern: str | None, special: Sequence[str]
) -> _core.CountsFiles:
    """The counts in `files`, which must be of `pattern` and `special` if these are given."""
    if not files:
        raise UsageError("--from-counts is given, but no counts file")
    counts = _core.CountsFiles(files, weights)
    if pattern is not None:
        counts.expect_pattern(None if pattern == "none" else pattern)
    if special:
        counts.expect_special_tokens(special)
    return counts


def _refuse_what_is_trained_on(held_out: Sequence[str], files: Sequence[Path]) -> None:
    """Looks at held-out files before the work: after it, hours may be lost."""
    trained_on = {os.path.realpath(file): file for file in files}
    for path in map(Path, held_out):
        path.stat()  # one that is not there is the system's to refuse
        if not path.is_file():
            raise UsageError(f"--held-out `{path}` is no regular file, expected a file")
        file = trained_on.get(os.path.realpath(path))
        if file is not None:
            error = UsageError(f"--held-out `{path}` is trained on, too, as `{file}`")
            raise with_hint(error, "name it once: what was trained on says little")


def _compression(prefix: str, n_bytes: int, n_tokens: int) -> Row:
    """Special tokens are in neither number."""
    return {
        f"{prefix}text_bytes": n_bytes,
        f"{prefix}tokens": n_tokens,
        f"{prefix}bytes_per_token": n_bytes / n_tokens if n_tokens else None,
    }


def _report(trained: _core.Trained, rows: list[Row]) -> Report:
    """The largest vocabulary in full, and where there are several, a table of all."""
    n_merges = trained.bpe.n_merges
    step = max(-(-n_merges // SAMPLES), 1)
    sizes = [{name: row[name] for name in SIZE_FACTS if name in row} for row in rows]
    return {
        **rows[-1],
        "sizes": sizes if len(sizes) > 1 else [],
        "bytes": trained.corpus_bytes,
        "pre_tokens": trained.pre_tokens,
        "distinct_pre_tokens": trained.distinct_pre_tokens,
        **spilled(trained),
        "longest_tokens": longest_tokens(trained.bpe),
        "sample_merges": merge_rows(trained.bpe, range(0, n_merges, step)),
        "stopped_early": trained.stopped_early,
    }
