"""What a tokenizer is made of, and the files it comes from.

The extension's `Bpe` is the vocabulary itself, with all that encodes and decodes: each property and
method of it is documented there, and `help(Tokenizer)` shows it. Here is the part that knows of
files and of other libraries; `Tokenizer` adds training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TypeAlias

from minillm import _core
from minillm.files import FilePath, named_in_errors, replace_file
from minillm.tokenizer.limits import check_numbers, check_special_tokens

Allowed: TypeAlias = Literal["all"] | AbstractSet[str]
Disallowed: TypeAlias = Literal["all"] | Collection[str]


class Vocabulary(_core.Bpe):
    """Ids, their bytes, the merges between them, special tokens, and how text is split."""

    __slots__ = ()

    def __new__(
        cls,
        vocab: Mapping[int, bytes],
        merges: Iterable[tuple[bytes, bytes]],
        special_tokens: Iterable[str] | Mapping[str, int] | None = None,
        pattern: str | None = "gpt2",
    ) -> Self:
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
        specials = _with_ids(special_tokens or ())
        return cls._of(_core.Bpe.of_parts(list(vocab.items()), list(merges), specials, pattern))

    @classmethod
    def _of(cls, bpe: _core.Bpe) -> Self:
        return super().__new__(cls, bpe)

    @classmethod
    def from_ranks(
        cls,
        ranks: Mapping[bytes, int] | FilePath,
        special_tokens: Mapping[str, int],
        pattern: str | None = "gpt2",
    ) -> Self:
        """Reads a vocabulary as tiktoken has it: a token's id is also its rank.

        Args:
            ranks: Id of each token, or a `.tiktoken` file of them.
            special_tokens: Id of each special token; the ranks do not hold them.
            pattern: As for the constructor; tiktoken files do not name theirs.
        """
        specials = list(special_tokens.items())
        if isinstance(ranks, Mapping):
            return cls._of(_core.Bpe.of_ranks(list(ranks.items()), specials, pattern))
        with named_in_errors(ranks):
            text = Path(ranks).read_text(encoding="utf-8")
            return cls._of(_core.Bpe.of_tiktoken(text, specials, pattern))

    @classmethod
    def from_tiktoken(cls, encoding: Any) -> Self:  # noqa: ANN401  tiktoken is never imported
        """Converts a `tiktoken.Encoding`; the ids are the same."""
        ranks, specials = encoding._mergeable_ranks, encoding._special_tokens
        return cls.from_ranks(ranks, specials, encoding._pat_str)

    @classmethod
    def from_hugging_face(cls, tokenizer: Any, *, skip_normalizer: bool = False) -> Self:  # noqa: ANN401
        """Converts a `tokenizers.Tokenizer` or a fast tokenizer of `transformers`.

        Args:
            tokenizer: A byte-level BPE; the ids are the same.
            skip_normalizer: As for `load`.

        Raises:
            ValueError: Naming what it demands and is not done here. Wrapped by `text_encoder`, it
                can drive encoding and training all the same.
        """
        text = getattr(tokenizer, "backend_tokenizer", tokenizer).to_str()
        return cls._of(_core.Bpe.of_json(text, skip_normalizer=skip_normalizer))

    @classmethod
    def from_files(
        cls,
        vocab: FilePath,
        merges: FilePath,
        special_tokens: Sequence[str] = (_core.END_OF_TEXT,),
        pattern: str | None = "gpt2",
    ) -> Self:
        """Reads a `vocab.json` and a `merges.txt` as GPT-2 was published."""
        specials = _with_ids(special_tokens)
        with named_in_errors(vocab):
            vocab_json = Path(vocab).read_text(encoding="utf-8")
            merges_txt = Path(merges).read_text(encoding="utf-8")
            return cls._of(_core.Bpe.of_gpt2_files(vocab_json, merges_txt, specials, pattern))

    @classmethod
    def load(cls, path: FilePath, *, skip_normalizer: bool = False) -> Self:
        """Reads a `tokenizer.json`, or the one in a folder.

        Args:
            path: Ours or any other byte-level BPE file.
            skip_normalizer: Reads a file that changes text before it encodes it, without doing so:
                for text that needs no change. (Qwen's files have NFC, the form of nearly all text.)

        Raises:
            ValueError: Naming the field that is damaged, or demands what is not done here.
            OSError: If the file cannot be read.
        """
        file = Path(path)
        if file.is_dir():
            file /= "tokenizer.json"
        with named_in_errors(file):
            text = file.read_text(encoding="utf-8")
            return cls._of(_core.Bpe.of_json(text, skip_normalizer=skip_normalizer))

    def save(self, path: FilePath) -> None:
        """Writes `tokenizer.json`, which `tokenizers` and `transformers` load too."""
        replace_file(path, self.to_json().encode())

    def save_ranks(self, path: FilePath) -> None:
        """Writes a `.tiktoken` file; it holds neither pattern nor special tokens.

        Raises:
            ValueError: If the ids are not in the order of the merges, as ranks must be.
        """
        replace_file(path, self.to_tiktoken().encode())

    def save_files(self, vocab: FilePath, merges: FilePath) -> None:
        """Writes a `vocab.json` and a `merges.txt` as GPT-2 was published."""
        vocab_json, merges_txt = self.to_gpt2_files()
        replace_file(vocab, vocab_json.encode())
        replace_file(merges, merges_txt.encode())

    def truncated(self, vocab_size: int) -> Self:
        """The tokenizer of `vocab_size` ids that training had on its way to this one.

        Equals what `train` gives for that size, down to the bytes of the saved file: the first
        merges stay, and special tokens behind them move down.

        Raises:
            ValueError: If there are fewer ids, a byte or a special token among the others would be
                lost, or the ids are not in the order of the merges.
        """
        check_numbers(vocab_size=vocab_size)
        return self._of(super().truncated(vocab_size))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is immutable, `{name}` cannot be set")

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_json, (type(self), self.to_json())

    def __repr__(self) -> str:
        facts = f"special_tokens={self.special_tokens}, pattern={self.pattern!r}"
        return f"{type(self).__name__}(vocab_size={self.vocab_size}, {facts})"


def _from_json(kind: type[Vocabulary], text: str) -> Vocabulary:
    return kind._of(_core.Bpe.of_json(text))


def _with_ids(tokens: Iterable[str] | Mapping[str, int]) -> list[tuple[str, int | None]]:
    check_special_tokens(tokens)
    if isinstance(tokens, Mapping):
        return list(tokens.items())
    return [(token, None) for token in tokens]
