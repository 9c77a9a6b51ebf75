"""Counted text: all that training needs of a corpus.

Several machines can count a part each, and one count serves many vocabularies: counts are saved,
loaded and added up, and a tokenizer that is trained on them is the one that the text gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack, final

from minillm import _core
from minillm.files import FilePath
from minillm.tokenizer.inputs import TEXT_FIELD, Corpus, files_or_texts
from minillm.tokenizer.limits import check_counting
from minillm.tokenizer.tokenizer import MergeOptions, Tokenizer


@final
class Counts(_core.Counts):
    """How often each pre-token of a corpus occurs, and how its text was cut."""

    __slots__ = ()

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        *,
        field: str = TEXT_FIELD,
        special_tokens: Sequence[str] = (_core.END_OF_TEXT,),
        pattern: str | None = "gpt2",
        weights: Sequence[int] = (),
        threads: int = 0,
        max_memory: int | None = None,
        temp_dir: FilePath | None = None,
    ) -> Counts:
        """Counts a corpus. The result depends on nothing but the text, its weights and the cut.

        Args:
            corpus: As for `Tokenizer.train`.
            field: As for `Tokenizer.train`.
            special_tokens: Never counted.
            pattern: As for `Tokenizer`.
            weights: As for `Tokenizer.train`.
            threads: Number of threads; 0 takes every core.
            max_memory: As for `Tokenizer.train`.
            temp_dir: As for `Tokenizer.train`.

        Raises:
            ValueError: If an option is out of range.
            OSError: If a file cannot be read, or `temp_dir` not be written to.
        """
        check_counting(special_tokens, weights, max_memory, temp_dir)
        source, weights = files_or_texts(corpus, field=field, weights=weights)
        counts = _core.count(
            source,
            special_tokens=list(special_tokens),
            pattern=pattern,
            weights=weights,
            threads=threads,
            max_memory=max_memory,
            temp_dir=temp_dir,
        )
        return cls(counts)

    @classmethod
    def load(cls, *paths: FilePath, weights: Sequence[int] = ()) -> Counts:
        """Adds up counts files.

        Args:
            paths: At least one.
            weights: How often each file counts, a whole number of 1 or more; none: once each.

        Raises:
            ValueError: If a file is damaged, or its text was cut otherwise than the first one's.
            OSError: If a file cannot be read.
        """
        return cls(_core.CountsFiles(paths, weights).load())

    def train(
        self, vocab_size: int, *, specials_first: bool = False, **options: Unpack[MergeOptions]
    ) -> Tokenizer:
        """Learns a vocabulary: the one that `Tokenizer.train` learns from the counted text.

        Args:
            vocab_size: As for `Tokenizer.train`, and so are the others.
            specials_first: Gives the lowest ids to the special tokens.
            options: `tie_break`, `min_frequency`, `max_token_length` and `threads`.

        Raises:
            ValueError: If an option is out of range or nothing was counted.
        """
        return Tokenizer.train(
            self,
            vocab_size,
            special_tokens=self.special_tokens,
            specials_first=specials_first,
            pattern=self.pattern,
            **options,
        )

    def __add__(self, other: Counts) -> Counts:
        """The counts of both, whose text must have been cut in the same way."""
        return Counts(self.plus(other))
