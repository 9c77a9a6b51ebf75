"""What a person wants to see of a vocabulary: its longest tokens, and merges with their counts."""

from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import TypeAlias

from minillm import _core
from minillm.tokenizer.report import Row, readable

LONGEST = 8

Merges: TypeAlias = Sequence[tuple[bytes, bytes]]


def longest_tokens(merges: Merges) -> list[str]:
    """The longest tokens that merges make, longest first."""
    tokens = {left + right for left, right in merges}
    # Sorted are only those that may be among them: all would take as long as to write the file.
    shortest = min(nlargest(LONGEST, map(len, tokens)), default=0)
    longest = [token for token in tokens if len(token) >= shortest]
    return [readable(token) for token in sorted(longest, key=lambda t: (-len(t), t))[:LONGEST]]


def merge_rows(bpe: _core.Bpe, merges: Merges, ranks: Iterable[int]) -> list[Row]:
    """Of all `merges`, those of these ranks: rank, id, count if it is known, what was merged."""
    counts = bpe.merge_counts()
    rows: list[Row] = []
    for rank in ranks:
        left, right = merges[rank]
        rows.append(
            {
                "rank": rank,
                "id": bpe.token_id(left + right),
                "count": counts[rank] if counts else None,
                "pair": f"{readable(left)} + {readable(right)}",
            }
        )
    return rows
