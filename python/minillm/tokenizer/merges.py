"""What a person wants to see of a vocabulary: its longest tokens, and merges with their counts."""

from __future__ import annotations

from collections.abc import Iterable

from minillm import _core
from minillm.tokenizer.report import Row, readable

LONGEST = 8


def longest_tokens(bpe: _core.Bpe) -> list[str]:
    """The longest tokens that merges make, longest first."""
    tokens = {left + right for left, right in bpe.merges()}
    return [readable(token) for token in sorted(tokens, key=lambda t: (-len(t), t))[:LONGEST]]


def merge_rows(bpe: _core.Bpe, ranks: Iterable[int]) -> list[Row]:
    """The merges of these ranks: rank, id, count if it is known, and what was merged."""
    merges, counts = bpe.merges(), bpe.merge_counts()
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
