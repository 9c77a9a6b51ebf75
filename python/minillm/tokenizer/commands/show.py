"""`minillm-bpe show`: what a tokenizer is, and its merges with their counts."""

from pathlib import Path

from cyclopts.types import NonNegativeInt

from minillm import _core
from minillm.tokenizer.report import Report, longest_tokens, merge_rows
from minillm.tokenizer.report import show as show_report
from minillm.tokenizer.tokenizer import Tokenizer


def show(
    tokenizer: Path = Path("tokenizer.json"),
    *,
    merges: NonNegativeInt = 10,
    json: bool = False,
) -> None:
    """Print what a tokenizer is, and its first and last merges, on standard output.

    Args:
        tokenizer: A `tokenizer.json`, or the folder of one.
        merges: Number of merges to print from each end; 0 prints none.
        json: Print everything as JSON.
    """
    loaded = Tokenizer.load(tokenizer)
    n_merges = loaded.n_merges
    first = range(min(merges, n_merges))
    last = range(max(n_merges - merges, len(first)), n_merges)
    specials = [{"id": i, "token": text} for text, i in loaded.special_tokens.items()]
    report: Report = {
        "tokenizer": str(tokenizer),
        "vocab_size": loaded.vocab_size,
        "vocabulary": len(loaded),
        "merges": n_merges,
        "pattern": loaded.pattern or "none",
        "special_tokens": specials,
        "unicode_version": _core.unicode_version,
        "sha256": loaded.sha256,
        "longest_tokens": longest_tokens(loaded),
        "first_merges": merge_rows(loaded, first),
        "last_merges": merge_rows(loaded, last),
    }
    show_report(report, as_json=json, data=True)
