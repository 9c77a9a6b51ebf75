"""Counted text: all that training needs of a corpus.

Several machines can count a part each, and one count serves many vocabularies: counts are saved,
loaded and added up, and a tokenizer that is trained on them is the one that the text gives.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Unpack, final

from minillm import _core
from minillm.files import FilePath
from minillm.tokenizer.inputs import TEXT_FIELD, Corpus, files_or_texts
from minillm.tokenizer.limits import check_counting, thread_count
from minillm.tokenizer.special import END_OF_TEXT
from minillm.tokenizer.tokenizer import MergeOptions, Tokenizer


@final
class Counts:
    """How often each pre-token of a corpus occurs, and how its text was cut."""

    __slots__ = ("_counts",)

    def __init__(self, counts: _core.Counts) -> None:
        """Wraps the extension's counts; `of` and `load` are the ways to get some."""
        self._counts = counts

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        *,
        field: str = TEXT_FIELD,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
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
        counts = _core.Counts.of(
            source,
            special_tokens=list(special_tokens),
            pattern=pattern,
            weights=weights,
            threads=thread_count(threads),
            max_memory=max_memory,
            temp_dir=temp_dir,
            progress=_core.Progress(),
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
        files = _core.CountsFiles([os.fspath(path) for path in paths], list(weights))
        return cls(files.load(_core.Progress()))

    def save(self, path: FilePath) -> None:
        """Writes a counts file. Equal counts make equal files, whoever counted."""
        self._counts.save(path)

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
            self._counts,
            vocab_size,
            special_tokens=self.special_tokens,
            specials_first=specials_first,
            pattern=self.pattern,
            **options,
        )

    @property
    def total(self) -> int:
        """Number of pre-tokens, each as often as it occurs; `len` counts different ones."""
        return self._counts.total()

    @property
    def corpus_bytes(self) -> int:
        """Bytes of the counted text, special tokens included."""
        return self._counts.corpus_bytes

    @property
    def pattern(self) -> str | None:
        """What cut the text."""
        return self._counts.pattern

    @property
    def special_tokens(self) -> list[str]:
        """What was left out of it."""
        return self._counts.special_tokens

    def __add__(self, other: Counts) -> Counts:
        """The counts of both, whose text must have been cut in the same way."""
        return Counts(self._counts.plus(other._counts))

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        return f"Counts({len(self)} pre-tokens of {self.corpus_bytes} bytes)"
