"""`minillm-bpe convert`: a token file for other programs, or one of theirs for yet another."""

import time
from pathlib import Path
from typing import Literal

from minillm import _core
from minillm.tokenizer.outputs import prepare
from minillm.tokenizer.report import Report, cost, show


def convert(
    file: Path,
    *,
    to: Literal["nanogpt", "llmc", "npy"],
    out: Path,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Write the ids of a token file as another program reads them.

    Args:
        file: A token file of `encode` or `join`, or one of the layouts below; its first bytes tell
            which.
        to: `nanogpt`: bare 16-bit ids; `llmc`: llm.c's header and 16- or 32-bit ids; `npy`: an
            array for `np.load`.
        out: The file to write; no index or manifest is written beside it.
        json: Print the report as JSON on stdout.
        quiet: Print no report.
    """
    began = time.monotonic()
    prepare(out, [out], read=[file])
    source, dtype, tokens = _core.convert_ids(file, to, out)
    report: Report = {"out": str(out), "layout": to, "from": source, "dtype": dtype}
    show(report | {"tokens": tokens, **cost(began)}, as_json=json, quiet=quiet)
