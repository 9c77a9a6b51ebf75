"""The tokenizer: text to ids and back.

All work is done by the Rust extension. What is here is the part that a caller sees: names,
defaults, and errors that say what to do. A tokenizer never changes after it is built, so threads,
forked processes and data loaders may share one.

Every byte string survives `decode_bytes(encode_bytes(data))`, valid UTF-8 or not. How text is
split, how ties are broken in training and what the saved file holds: `docs/tokenizer.md`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, final

from minillm import _core
from minillm.tokenizer.corpus import Corpus, cores, files_or_texts
from minillm.tokenizer.files import FilePath, named_in_errors, write_atomically
from minillm.tokenizer.special import (
    AllowedSpecial,
    DisallowedSpecial,
    allowed_names,
    names,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

END_OF_TEXT = "<|endoftext|>"

TieBreak: TypeAlias = Literal["lex", "id", "hf"]
Ids: TypeAlias = "Sequence[int] | NDArray[np.integer[Any]]"


@final
class Tokenizer:
    """A byte-level BPE vocabulary with its pre-tokenizer and special tokens."""

    __slots__ = ("_bpe",)
    _bpe: _core.Bpe

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[tuple[bytes, bytes]],
        special_tokens: Iterable[str] | Mapping[str, int] | None = None,
        pattern: str | None = "gpt2",
    ) -> None:
        """Builds a tokenizer from its parts, whatever the layout of its ids.

        Args:
            vocab: Bytes of each id. Ids may have gaps, and bytes may have any ids.
            merges: Pairs of tokens in the order in which training made them.
            special_tokens: Tokens that are never split. One without an id of its own has the id
                of its bytes in `vocab`, or else the next id above all others.
            pattern: How text is split before merging: the name of a known pattern, a regex, or
                None for no split at all.

        Raises:
            ValueError: If a merge names a token that is not in `vocab`, an id or a token occurs
                twice, or the pattern does not compile.
        """
        _refuse_text(special_tokens)
        specials = special_tokens or ()
        with_ids = (
            list(specials.items())
            if isinstance(specials, Mapping)
            else [(token, None) for token in specials]
        )
        self._set(_core.Bpe(list(vocab.items()), list(merges), with_ids, pattern))

    @classmethod
    def _of(cls, bpe: _core.Bpe) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._set(bpe)
        return tokenizer

    def _set(self, bpe: _core.Bpe) -> None:
        object.__setattr__(self, "_bpe", bpe)

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
        threads: int = 0,
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
            threads: Number of threads; 0 takes every core. The result does not depend on it.

        Raises:
            ValueError: If an option is out of range or there is no text.
            OSError: If a file cannot be read.
        """
        _refuse_out_of_range(vocab_size=vocab_size, min_frequency=min_frequency, threads=threads)
        _refuse_out_of_range(max_token_length=max_token_length or 0)
        _refuse_text(special_tokens)
        trained = _core.train(
            files_or_texts(corpus),
            vocab_size,
            special_tokens=list(special_tokens),
            specials_first=specials_first,
            pattern=pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_length,
            threads=threads or cores(),
            progress=_core.Progress(),
        )
        if trained.stopped_early is not None:
            size = trained.bpe.vocab_size
            text = f"vocab_size is {size} and not {vocab_size}: {trained.stopped_early}"
            warnings.warn(text, stacklevel=2)
        return cls._of(trained.bpe)

    @classmethod
    def from_ranks(
        cls,
        ranks: Mapping[bytes, int] | FilePath,
        special_tokens: Mapping[str, int],
        pattern: str | None = "gpt2",
    ) -> Tokenizer:
        """Reads a vocabulary as tiktoken has it: a token's id is also its rank.

        Args:
            ranks: Id of each token, or a `.tiktoken` file of them.
            special_tokens: Id of each special token; the ranks do not hold them.
            pattern: As for the constructor; tiktoken files do not name theirs.
        """
        specials = list(special_tokens.items())
        if isinstance(ranks, Mapping):
            return cls._of(_core.Bpe.from_ranks(list(ranks.items()), specials, pattern))
        with named_in_errors(ranks):
            text = Path(ranks).read_text(encoding="utf-8")
            return cls._of(_core.Bpe.from_tiktoken(text, specials, pattern))

    @classmethod
    def from_files(
        cls,
        vocab: FilePath,
        merges: FilePath,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        pattern: str | None = "gpt2",
    ) -> Tokenizer:
        """Reads a `vocab.json` and a `merges.txt` as GPT-2 was published."""
        _refuse_text(special_tokens)
        specials = [(token, None) for token in special_tokens]
        with named_in_errors(vocab):
            vocab_json = Path(vocab).read_text(encoding="utf-8")
            merges_txt = Path(merges).read_text(encoding="utf-8")
            return cls._of(_core.Bpe.from_gpt2_files(vocab_json, merges_txt, specials, pattern))

    @classmethod
    def load(cls, path: FilePath) -> Tokenizer:
        """Reads a `tokenizer.json`, or the one in a folder."""
        file = Path(path)
        if file.is_dir():
            file /= "tokenizer.json"
        with named_in_errors(file):
            return cls._of(_core.Bpe.from_json(file.read_text(encoding="utf-8")))

    def save(self, path: FilePath) -> None:
        """Writes `tokenizer.json`, which `tokenizers` and `transformers` load too."""
        write_atomically(path, self._bpe.to_json())

    def save_ranks(self, path: FilePath) -> None:
        """Writes a `.tiktoken` file; it holds neither pattern nor special tokens.

        Raises:
            ValueError: If the ids are not in the order of the merges, as ranks must be.
        """
        write_atomically(path, self._bpe.to_tiktoken())

    def save_files(self, vocab: FilePath, merges: FilePath) -> None:
        """Writes a `vocab.json` and a `merges.txt` as GPT-2 was published."""
        vocab_json, merges_txt = self._bpe.to_gpt2_files()
        write_atomically(vocab, vocab_json)
        write_atomically(merges, merges_txt)

    @property
    def bpe(self) -> _core.Bpe:
        """What the extension's own functions take."""
        return self._bpe

    @property
    def vocab(self) -> dict[int, bytes]:
        """Bytes of each id, special tokens included."""
        return self._bpe.vocab()

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """Merged pairs, lowest rank first."""
        return self._bpe.merges()

    @property
    def special_tokens(self) -> dict[str, int]:
        """Id of each special token."""
        return self._bpe.special_tokens()

    @property
    def pattern(self) -> str | None:
        """Name or regex of the pre-tokenizer; None if text is not split."""
        return self._bpe.pattern

    @property
    def vocab_size(self) -> int:
        """Highest id + 1: the rows that an embedding needs. `len` counts the ids in use."""
        return self._bpe.vocab_size

    @property
    def eot_id(self) -> int | None:
        """Id of `<|endoftext|>`, which ends each document; None without one."""
        return self._bpe.eot_id

    @property
    def sha256(self) -> str:
        """Hash of the saved form; token files name the tokenizer that wrote them by it."""
        return self._bpe.sha256()

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
        _refuse_out_of_range(threads=threads)
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

    def decode(self, ids: Ids, errors: Literal["replace", "strict"] = "replace") -> str:
        """The text of `ids`.

        Args:
            ids: Any sequence or integer array.
            errors: What becomes of bytes that are not UTF-8, as a token may end in the middle of a
                character: "replace" puts U+FFFD, "strict" raises `UnicodeDecodeError`.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of `ids`, exactly; inverts every way to encode.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        return self._bpe.decode(ids)

    def token_bytes_lengths(self) -> NDArray[np.int64]:
        """Bytes of text that each id stands for; 0 for special tokens and unused ids."""
        import numpy as np  # noqa: PLC0415  the commands do without it

        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for token_id, token in self.vocab.items():
            lengths[token_id] = len(token)
        lengths[list(self.special_tokens.values())] = 0
        return lengths

    def __len__(self) -> int:
        return len(self._bpe)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Tokenizer is immutable, `{name}` cannot be set")

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_json, (self._bpe.to_json(),)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens}, "
            f"pattern={self.pattern!r})"
        )


def _from_json(text: str) -> Tokenizer:
    return Tokenizer._of(_core.Bpe.from_json(text))


def _refuse_out_of_range(**options: int) -> None:
    for name, value in options.items():
        if not 0 <= value < 1 << 32:
            raise ValueError(f"{name} is {value}, expected 0 to {(1 << 32) - 1}")


def _refuse_text(special_tokens: object) -> None:
    # A string is an iterable of strings: without this, each of its letters became a special token.
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens is {special_tokens!r}, expected a list of them")


def pretokenize(text: str, pattern: str | None = "gpt2") -> list[str]:
    """Splits `text` as it is split before merging; the parts add up to it."""
    return [part.decode() for part in _core.pretokenize(text, pattern)]
