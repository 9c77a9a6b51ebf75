"""`minillm-bpe convert`: a token file for other programs, or one of theirs for yet another.

Streams, so the size of the file does not matter. What is written has no manifest: other programs
read none, and ours tells their files by the first bytes.
"""

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minillm.files import written_aside
from minillm.tokenizer.layouts import IdReader, LayoutName, write_header
from minillm.tokenizer.outputs import prepare
from minillm.tokenizer.report import Report, cost, show

CONVERT_TOKENS = 1 << 20
"""Ids in memory at a time."""


def convert(
    file: Path,
    *,
    to: LayoutName,
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
    ids = IdReader(file)
    prepare(out, [out], read=[file])
    dtype = np.dtype("uint16" if to == "nanogpt" else ids.dtype).newbyteorder("<")
    with written_aside(out) as aside, aside.open("wb") as target:
        write_header(target, to, dtype, len(ids))
        for start in range(0, len(ids), CONVERT_TOKENS):
            piece = ids.read(start, CONVERT_TOKENS)
            _check_fit(file, piece, start, dtype.itemsize)
            target.write(piece.astype(dtype, copy=False).tobytes())
    report: Report = {
        "out": str(out),
        "layout": to,
        "from": ids.layout,
        "dtype": dtype.name,
        "tokens": len(ids),
        **cost(began),
    }
    show(report, as_json=json, quiet=quiet)


def _check_fit(file: Path, piece: NDArray[np.unsignedinteger], start: int, id_bytes: int) -> None:
    limit = 1 << 8 * id_bytes
    if piece.itemsize > id_bytes and int(piece.max()) >= limit:
        at = int(np.argmax(piece >= limit))
        raise ValueError(
            f"`{file}`: id {int(piece[at])} at position {start + at} does not fit nanoGPT's 16 bits"
            "\nhint: convert it to llmc or npy, which have 32 bits"
        )
