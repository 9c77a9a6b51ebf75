"""`minillm-bpe join`: the parts of several machines to one token file, without copying."""

from pathlib import Path

from minillm import _core
from minillm.messages import UsageError
from minillm.tokenizer.outputs import token_files
from minillm.tokenizer.report import Report, show


def join(
    *parts: Path,
    out: Path,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Write the manifest that joins the parts of `encode --part` to one token file.

    Nothing is copied: the parts stay, and are read one behind the other under the name of `out`.
    All of them are read once and compared with their checksums.

    Args:
        parts: The `.bin` files of all parts, in any order.
        out: The name of the whole, such as `data/train.bin`; in the folder of the parts. What is
            written is its manifest, `data/train.json`.
        json: Print the report as JSON on stdout.
        quiet: Print no report.
    """
    if not parts:
        raise UsageError("no parts given, expected files such as train-001-of-008.bin")
    tokens, documents, n_bytes = _core.join_parts([str(part) for part in parts], out)
    report: Report = {
        "manifest": str(token_files(out)[2]),
        "parts": len(parts),
        "tokens": tokens,
        "documents": documents,
        "text_bytes": n_bytes,
    }
    show(report, as_json=json, quiet=quiet)
