"""`minillm-bpe count`: text to counts, from which any number of vocabularies can be trained."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import UInt16, UInt64

from minillm import _core
from minillm.tokenizer.inputs import TEXT_FIELD, Files, warn_of_field
from minillm.tokenizer.limits import warn_of_temp_dir
from minillm.tokenizer.memory import Memory
from minillm.tokenizer.outputs import prepare
from minillm.tokenizer.progress import drawn
from minillm.tokenizer.report import Report, cost, show, spilled


def count(
    *files: Path,
    out: Path,
    field: str = TEXT_FIELD,
    special: tuple[str, ...] = (_core.END_OF_TEXT,),
    pattern: str = "gpt2",
    weights: Annotated[tuple[UInt64, ...], Parameter(consume_multiple=True)] = (),
    threads: UInt16 = 0,
    max_memory: Memory | None = None,
    temp_dir: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Count the pre-tokens of text, for `train --from-counts`.

    Args:
        files: Text files, in which special tokens separate documents; jsonl files, of which each
            line holds one; folders of them; patterns such as 'data/**/*.txt'; `-` for standard
            input, which is also read if nothing is given. All of them may be packed: .gz, .zst.
        out: Where the counts go.
        field: The field of jsonl files that is the text; `meta.text` is `text` in the object
            `meta`.
        special: Special token; repeat for several. Given once, the default is replaced.
        pattern: How text is split: gpt2, cl100k, llama3, qwen2, o200k, a regex, or "none".
        weights: How often each argument counts, one whole number each: `--weights 3 1`. A file that
            is given twice counts twice, too.
        threads: Number of threads; 0 takes every core. The result does not depend on it.
        max_memory: Memory that counting may take, such as 500MB or 2GiB, the interpreter's own 30
            MB not included. The rest goes to disk; the result does not depend on it.
        temp_dir: Where on disk, by default the system's folder for temporary files.
        json: Print the report as JSON on stdout.
        quiet: Print neither progress nor report.
    """
    inputs = Files.or_stdin(files, field=field, weights=weights)
    warn_of_field(field, inputs)
    warn_of_temp_dir(temp_dir, max_memory)
    prepare(out, [out], read=inputs.on_disk)
    began = time.monotonic()
    progress = _core.Progress()
    with drawn(progress, quiet=quiet):
        counted = _core.count_to_file(
            inputs,
            out,
            special_tokens=list(special),
            pattern=None if pattern == "none" else pattern,
            weights=inputs.weights,
            threads=threads,
            max_memory=max_memory,
            temp_dir=temp_dir,
            progress=progress,
        )
    report: Report = {
        "counts": str(out),
        "bytes": counted.corpus_bytes,
        "distinct_pre_tokens": counted.distinct_pre_tokens,
        **spilled(counted),
        **cost(began),
    }
    show(report, as_json=json, quiet=quiet)
