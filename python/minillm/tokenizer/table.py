"""The trained-in table beside a tokenizer: `tokenizer.table` of `tokenizer.json`.

It holds the pre-tokens that were most frequent in the training text with their ids, so that
encoding starts warm. It changes the speed and nothing else; so one that does not fit is left alone,
and a line says so.
"""

from pathlib import Path

from minillm import _core
from minillm.messages import say


def table_of(tokenizer: Path) -> Path:
    """Where the table of a `tokenizer.json` is."""
    return tokenizer.with_suffix(".table")


def write_table(
    tokenizer: Path, table: _core.Table | None, bpe: _core.Bpe, *, is_fitted: bool
) -> None:
    """Writes the table beside the tokenizer; without one, removes that of an earlier tokenizer.

    Args:
        tokenizer: The file that holds `bpe`.
        table: What training kept.
        bpe: The tokenizer.
        is_fitted: Whether the ids in `table` are those of `bpe`, and not of a larger vocabulary.
    """
    if table is None:
        table_of(tokenizer).unlink(missing_ok=True)
    else:
        fitted = table if is_fitted else table.refitted(bpe)
        fitted.save(table_of(tokenizer), bpe)


def with_table(bpe: _core.Bpe, tokenizer: Path) -> _core.Bpe:
    """`bpe` with the table that stands beside its file, if there is one that fits."""
    path = table_of(tokenizer)
    if not path.exists():
        return bpe
    try:
        return bpe.with_table(path)
    except (OSError, ValueError) as error:
        say(f"warning: {error}; encoding without it, which is slower")
        return bpe
