"""The tokenizer: text to ids and back.

All work is done by the Rust extension. What is here is the part that a caller sees: names,
defaults, and errors that say what to do. A tokenizer never changes after it is built, so threads,
forked processes and data loaders may share one.

Every byte string survives `decode_bytes(encode_bytes(data))`, valid UTF-8 or not. How text is
split, how ties are broken in training and what the saved file holds: `docs/tokenizer.md`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

from minillm import _core
from minillm.tokenizer.corpus import Corpus, cores, files_or_texts
from minillm.tokenizer.files import FilePath
from minillm.tokenizer.special import (
    END_OF_TEXT,
    AllowedSpecial,
    DisallowedSpecial,
    allowed_names,
    names,
    refuse_text,
)
from minillm.tokenizer.vocabulary import (
    Vocabulary,
    refuse_out_of_64_bits,
    refuse_out_of_range,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TieBreak: TypeAlias = Literal["lex", "id", "hf"]
Ids: TypeAlias = "Sequence[int] | NDArray[np.integer[Any]]"


@final
class Tokenizer(Vocabulary):
    """A byte-level BPE vocabulary with its pre-tokenizer and special tokens."""

    __slots__ = ()

    @classmethod
    def train(
        cls,
        corpus: Corpus,
        vocab_size: int,
        *,
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
            corpus: A file, a list of files, or an iterable of texts, each a document. In files,
                special tokens separate documents. A list of strings is taken for files if every
                one of them names a file.
            vocab_size: Number of ids: 256 bytes, then merges, then special tokens.
            special_tokens: Never counted, never split.
            specials_first: Gives the lowest ids to the special tokens.
            pattern: As for the constructor.
            tie_break: Which of several equally frequent pairs is merged first. "lex": the greatest
                pair of byte strings; "id": the smallest pair of ids, as rustbpe; "hf": as Hugging
                Face tokenizers.
            min_frequency: Pairs that occur less often are not merged.
            max_token_length: Longest token in bytes; None sets no limit.
            weights: How often each file counts, a whole number of 1 or more; none: once each.
            threads: Number of threads; 0 takes every core. The result does not depend on it.
            max_memory: Bytes for counting and merging; those of the interpreter and of the
                vocabulary come on top. What finds no room while counting goes to disk; the result
                does not depend on it.
            temp_dir: Where on disk; None is the system's folder for temporary files.

        Raises:
            ValueError: If an option is out of range or there is no text.
            OSError: If a file cannot be read, or `temp_dir` not be written to.
        """
        refuse_text(special_tokens)
        return learned(
            files_or_texts(corpus),
            vocab_size,
            special_tokens=special_tokens,
            specials_first=specials_first,
            pattern=pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            weights=weights,
            threads=threads,
            max_memory=max_memory,
            temp_dir=temp_dir,
        )

    def continued(
        self,
        corpus: Corpus,
        vocab_size: int,
        *,
        tie_break: TieBreak = "lex",
        min_frequency: int = 1,
        max_token_length: int | None = None,
        threads: int = 0,
    ) -> Tokenizer:
        """Learns more merges, as if training had made those of this tokenizer itself.

        Its merges are made first, in their order and however rare they are in `corpus`. All its
        ids stay what they are, those of special tokens too; new ones lie above them. On the same
        corpus, with the same options, the merges are those of one long run.

        Args:
            corpus: As for `train`.
            vocab_size: Number of ids in the end.
            tie_break: As for `train`.
            min_frequency: As for `train`; of new merges only.
            max_token_length: As for `train`; of new tokens only.
            threads: As for `train`.

        Raises:
            ValueError: If this tokenizer has more ids already or lacks the token of a byte, an
                option is out of range, or there is no text.
            OSError: If a file cannot be read.
        """
        return learned(
            files_or_texts(corpus),
            vocab_size,
            base=self._bpe,
            special_tokens=list(self.special_tokens),
            pattern=self.pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            threads=threads,
        )

    def bytes_per_token(self, corpus: Corpus, *, threads: int = 0) -> float:
        """How well the tokenizer fits a text, best one that it was not trained on.

        Special tokens count as nothing. Files are read in blocks, whatever their size.

        Args:
            corpus: As for `train`.
            threads: Number of threads; 0 takes every core.

        Raises:
            ValueError: If there is no text.
            OSError: If a file cannot be read.
        """
        refuse_out_of_range(threads=threads)
        n_bytes, n_tokens = _core.measure(
            files_or_texts(corpus), self._bpe, threads=threads or cores(), progress=_core.Progress()
        )
        if n_tokens == 0:
            raise ValueError("no text to measure")
        return n_bytes / n_tokens

    def encode(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[int]:
        """The ids of `text`, with special tokens treated as tiktoken does.

        Args:
            text: Anything that has a UTF-8 form.
            allowed_special: "all", or the special tokens that become their ids.
            disallowed_special: The special tokens that `text` must not hold; "all" is all that
                are not allowed. What is in neither set is ordinary text.

        Raises:
            ValueError: If `text` holds a disallowed token or a lone surrogate.
        """
        allowed = allowed_names(self._bpe, text, allowed_special, disallowed_special)
        return self._bpe.encode(text, allowed)

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
    ) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """As `encode`; 16-bit ids if `vocab_size` allows it, as in token files."""
        allowed = allowed_names(self._bpe, text, allowed_special, disallowed_special)
        ids = self._bpe.encode_to_numpy(text, allowed)
        return ids.astype("uint16") if self.vocab_size <= 1 << 16 else ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text` with every special token in it taken as ordinary text."""
        return self._bpe.encode(text, [])

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes, valid UTF-8 or not, with no special tokens."""
        return self._bpe.encode(data, [])

    def encode_batch(
        self,
        texts: Sequence[str],
        *,
        allowed_special: AllowedSpecial = frozenset(),
        disallowed_special: DisallowedSpecial = "all",
        threads: int = 0,
    ) -> list[list[int]]:
        """As `encode` for each text, in parallel; `threads` 0 takes every core."""
        refuse_out_of_range(threads=threads)
        for text in texts:
            allowed_names(self._bpe, text, allowed_special, disallowed_special)
        return self._bpe.encode_batch(texts, names(allowed_special), threads or cores())

    def encode_iterable(
        self, texts: Iterable[str], *, allowed_special: AllowedSpecial = "all"
    ) -> Iterator[int]:
        """The ids of the concatenation of `texts`, lazily and in constant memory.

        Wherever the pieces are cut, even inside a word or a special token, the ids are those of
        the whole.

        Args:
            texts: For example an open file, which yields its lines.
            allowed_special: As for `encode`, but by default every special token becomes its id,
                because this is for corpora, which separate documents by them. Others are ordinary
                text.
        """
        stream = self._bpe.stream(names(allowed_special))
        for text in texts:
            yield from stream.push(text)
        yield from stream.finish()

    def decode(
        self, ids: Ids, errors: Literal["replace", "strict"] = "replace", *, threads: int = 0
    ) -> str:
        """The text of `ids`.

        Args:
            ids: Any sequence or integer array.
            errors: What becomes of bytes that are not UTF-8, as a token may end in the middle of a
                character: "replace" puts U+FFFD, "strict" raises `UnicodeDecodeError`.
            threads: As for `decode_bytes`.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        return self.decode_bytes(ids, threads=threads).decode("utf-8", errors)

    def decode_bytes(self, ids: Ids, *, threads: int = 0) -> bytes:
        """The bytes of `ids`, exactly; inverts every way to encode.

        Args:
            ids: Any sequence or integer array. An array of uint16, uint32 or int64 is read where it
                lies, which is by far the fastest way.
            threads: Number of threads; 0 takes every core. Less than a million ids take one.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        refuse_out_of_range(threads=threads)
        return self._bpe.decode(ids, threads or cores())

    def stream_decoder(self) -> _core.StreamDecoder:
        """Decodes ids that arrive one after the other, such as those of a model.

        Its `push(ids)` returns the text that is certain then: half a character waits for its rest,
        bytes that are not UTF-8 are U+FFFD. `finish()` returns U+FFFD for a rest that never came.
        However the ids are cut into pieces, the whole is what `decode` returns for all of them.
        """
        return self._bpe.stream_decoder()


def learned(
    corpus: Sequence[str] | Iterator[str] | _core.Counts,
    vocab_size: int,
    *,
    base: _core.Bpe | None = None,
    special_tokens: Sequence[str],
    specials_first: bool = False,
    pattern: str | None,
    tie_break: TieBreak,
    min_frequency: int,
    max_token_length: int | None,
    weights: Sequence[int] = (),
    threads: int,
    max_memory: int | None = None,
    temp_dir: FilePath | None = None,
) -> Tokenizer:
    """What `Tokenizer.train`, `Tokenizer.continued` and `Counts.train` have in common."""
    refuse_out_of_range(vocab_size=vocab_size, min_frequency=min_frequency, threads=threads)
    refuse_out_of_range(max_token_length=max_token_length or 0)
    refuse_out_of_64_bits(weights=weights, max_memory=[max_memory or 0])
    trained = _core.train(
        corpus,
        vocab_size,
        smaller_sizes=[],
        base=base,
        special_tokens=list(special_tokens),
        specials_first=specials_first,
        pattern=pattern,
        tie_break=tie_break,
        min_frequency=min_frequency,
        max_token_bytes=max_token_length,
        weights=list(weights),
        threads=threads or cores(),
        max_memory=max_memory,
        temp_dir=temp_dir,
        progress=_core.Progress(),
    )
    if trained.stopped_early is not None:
        size = trained.bpe.vocab_size
        text = f"vocab_size is {size} and not {vocab_size}: {trained.stopped_early}"
        warnings.warn(text, stacklevel=3)
    return Tokenizer._of(trained.bpe)


def pretokenize(text: str, pattern: str | None = "gpt2") -> list[str]:
    """Splits `text` as it is split before merging; the parts add up to it."""
    return [part.decode() for part in _core.pretokenize(text, pattern)]
