"""The tokenizer: how it is learned, and how well it fits a text.

All work is done by the Rust extension. What is here is the part that a caller sees: names,
defaults, and errors that say what to do. A tokenizer never changes after it is built, so threads,
forked processes and data loaders may share one. What it does to text is in `codec.py`, what it is
made of in `vocabulary.py`; how ties are broken in training and what the saved file holds, in
`docs/tokenizer.md`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, TypedDict, Unpack, final

from minillm import _core
from minillm.files import FilePath
from minillm.tokenizer.codec import Codec
from minillm.tokenizer.inputs import TEXT_FIELD, Corpus, Files, files_or_texts
from minillm.tokenizer.limits import check_counting, check_numbers, thread_count
from minillm.tokenizer.special import END_OF_TEXT

TieBreak: TypeAlias = Literal["lex", "id", "hf"]


class MergeOptions(TypedDict, total=False):
    """What may be said of any merging; meaning and defaults are those of `Tokenizer.train`."""

    tie_break: TieBreak
    min_frequency: int
    max_token_length: int | None
    threads: int


@final
class Tokenizer(Codec):
    """A byte-level BPE vocabulary with its pre-tokenizer and special tokens."""

    __slots__ = ()

    @classmethod
    def train(
        cls,
        corpus: Corpus | _core.Counts,
        vocab_size: int,
        *,
        base: Tokenizer | None = None,
        field: str = TEXT_FIELD,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        specials_first: bool = False,
        pattern: str | None = "gpt2",
        tie_break: TieBreak = "lex",
        min_frequency: int = 1,
        max_token_length: int | None = None,
        weights: Sequence[int] = (),
        threads: int = 0,
        max_memory: int | None = None,
        temp_dir: FilePath | None = None,
    ) -> Tokenizer:
        """Learns a vocabulary. The result depends on nothing but the text and these options.

        Args:
            corpus: A file, a list of files, or an iterable of texts, each a document. In text
                files, special tokens separate documents; jsonl files hold one a line. Both may be
                packed by gzip or zstd. A folder or a pattern such as "data/**/*.txt" stands for
                files, too. A list of strings is taken for files if every one of them names one.
            vocab_size: Number of ids: 256 bytes, then merges, then special tokens.
            base: A tokenizer to go on from; `continued` says how.
            field: The field of jsonl files that is the text; "meta.text" is the field "text" of the
                object in the field "meta".
            special_tokens: Never counted, never split.
            specials_first: Gives the lowest ids to the special tokens.
            pattern: As for the constructor.
            tie_break: Which of several equally frequent pairs is merged first. "lex": the greatest
                pair of byte strings; "id": the smallest pair of ids, as rustbpe; "hf": as Hugging
                Face tokenizers.
            min_frequency: Pairs that occur less often are not merged.
            max_token_length: Longest token in bytes; None sets no limit.
            weights: How often each file, folder or pattern counts, a whole number of 1 or more;
                none: once each.
            threads: Number of threads; 0 takes every core. The result does not depend on it.
            max_memory: Bytes for counting and merging; those of the interpreter and of the
                vocabulary come on top. What finds no room while counting goes to disk; the result
                does not depend on it.
            temp_dir: Where on disk; None is the system's folder for temporary files.

        Raises:
            ValueError: If an option is out of range or there is no text.
            OSError: If a file cannot be read, or `temp_dir` not be written to.
        """
        check_numbers(vocab_size=vocab_size, min_frequency=min_frequency)
        check_numbers(max_token_length=max_token_length or 0)
        check_counting(special_tokens, weights, max_memory, temp_dir)
        source: Files | Iterator[str] | _core.Counts
        if isinstance(corpus, _core.Counts):
            source = corpus
        else:
            source, weights = files_or_texts(corpus, field=field, weights=weights)
        trained = _core.train(
            source,
            vocab_size,
            smaller_sizes=[],
            base=None if base is None else base.bpe,
            special_tokens=list(special_tokens),
            specials_first=specials_first,
            pattern=pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_length,
            weights=weights,
            threads=thread_count(threads),
            max_memory=max_memory,
            temp_dir=temp_dir,
            table_entries=0,
            progress=_core.Progress(),
        )
        if trained.stopped_early is not None:
            size = trained.bpe.vocab_size
            text = f"vocab_size is {size} and not {vocab_size}: {trained.stopped_early}"
            warnings.warn(text, stacklevel=2)
        return cls._of(trained.bpe)

    def continued(
        self,
        corpus: Corpus,
        vocab_size: int,
        *,
        field: str = TEXT_FIELD,
        **options: Unpack[MergeOptions],
    ) -> Tokenizer:
        """Learns more merges, as if training had made those of this tokenizer itself.

        Its merges are made first, in their order and however rare they are in `corpus`. All its
        ids stay what they are, those of special tokens too; new ones lie above them. On the same
        corpus, with the same options, the merges are those of one long run.

        Args:
            corpus: As for `train`.
            vocab_size: Number of ids in the end.
            field: As for `train`.
            options: `tie_break`, `min_frequency` and `max_token_length`, both of what is new only,
                and `threads`: as for `train`.

        Raises:
            ValueError: If this tokenizer has more ids already or lacks the token of a byte, an
                option is out of range, or there is no text.
            OSError: If a file cannot be read.
        """
        return self.train(
            corpus,
            vocab_size,
            base=self,
            field=field,
            special_tokens=list(self.special_tokens),
            pattern=self.pattern,
            **options,
        )

    def bytes_per_token(
        self, corpus: Corpus, *, field: str = TEXT_FIELD, threads: int = 0
    ) -> float:
        """How well the tokenizer fits a text, best one that it was not trained on.

        Special tokens count as nothing. Files are read in blocks, whatever their size.

        Args:
            corpus: As for `train`.
            field: As for `train`.
            threads: Number of threads; 0 takes every core.

        Raises:
            ValueError: If there is no text.
            OSError: If a file cannot be read.
        """
        n_bytes, n_tokens = _core.measure(
            files_or_texts(corpus, field=field)[0],
            self.bpe,
            threads=thread_count(threads),
            progress=_core.Progress(),
        )
        if n_tokens == 0:
            raise ValueError("no text to measure")
        return n_bytes / n_tokens


def pretokenize(text: str, pattern: str | None = "gpt2") -> list[str]:
    """Splits `text` as it is split before merging; the parts add up to it."""
    return [part.decode() for part in _core.pretokenize(text, pattern)]
