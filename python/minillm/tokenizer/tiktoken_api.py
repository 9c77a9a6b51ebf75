"""A tokenizer with the methods of `tiktoken.Encoding`, so that existing code switches in one line.

    encoding = as_tiktoken(Tokenizer.load("tokenizer.json"))

Names, defaults, results and kinds of exceptions are those of tiktoken 0.14: an id that does not
exist is a `KeyError` here, and lone surrogates become U+FFFD in the methods where they do there.
What differs is said where it differs: messages are our own, batches run on as many threads as asked
for without a pool, and `encode_with_unstable`, which tiktoken itself calls unstable, is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NoReturn, final

from minillm import _core
from minillm.tokenizer.tokenizer import Tokenizer
from minillm.tokenizer.vocabulary import Allowed, Disallowed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NONE: frozenset[str] = frozenset()


def as_tiktoken(tokenizer: Tokenizer, name: str = "minillm") -> Encoding:
    """`tokenizer` with the methods of a `tiktoken.Encoding`.

    Args:
        tokenizer: Its vocabulary may be of any origin.
        name: What the encoding calls itself; nothing depends on it.
    """
    return Encoding(tokenizer, name)


@final
class Encoding:
    """A look-alike of `tiktoken.Encoding`; `as_tiktoken` makes one.

    Attributes:
        name: Given by whoever made it.
        max_token_value: The highest id.
        special_tokens_set: The texts of the special tokens.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self.name = name
        self.max_token_value = tokenizer.vocab_size - 1
        self.special_tokens_set = set(tokenizer.special_tokens)
        self._tokenizer = tokenizer
        self._specials = {text.encode(): i for text, i in tokenizer.special_tokens.items()}
        self._special_ids = frozenset(self._specials.values())

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text`, where special tokens are ordinary text."""
        return self._tokenizer.encode_ordinary(_str(text), errors="replace")

    def encode(
        self, text: str, *, allowed_special: Allowed = NONE, disallowed_special: Disallowed = "all"
    ) -> list[int]:
        """The ids of `text`; a `ValueError` where it holds a disallowed special token."""
        return self._tokenizer.encode(
            _str(text),
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
            errors="replace",
        )

    def encode_to_numpy(
        self, text: str, *, allowed_special: Allowed = NONE, disallowed_special: Disallowed = "all"
    ) -> NDArray[np.uint32]:
        """As `encode`, but a lone surrogate is a `UnicodeEncodeError`."""
        try:
            ids = self._tokenizer.encode_to_numpy(
                _str(text), allowed_special=allowed_special, disallowed_special=disallowed_special
            )
        except ValueError:
            text.encode()  # raises what tiktoken raises, if that is the cause
            raise
        return ids.astype("uint32", copy=False)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """As `encode_ordinary` for each text."""
        return self.encode_batch(text, num_threads=num_threads, disallowed_special=())

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Allowed = NONE,
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """As `encode` for each text."""
        return self._tokenizer.encode_batch_to_lists(
            [_str(one) for one in text],
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
            errors="replace",
            threads=num_threads,
        )

    def encode_with_unstable(self, *_: object, **__: object) -> NoReturn:
        """Is not there: nobody has asked for what tiktoken may still change."""
        raise NotImplementedError("encode_with_unstable exists in tiktoken only")

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of a token, special ones included; a `KeyError` if there is none."""
        token = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        token_id = self._tokenizer.token_id(token)
        return self._specials[token] if token_id is None else token_id

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The bytes of the ids; a `KeyError` for one that does not exist."""
        try:
            return self._tokenizer.decode_bytes(tokens)
        except ValueError as error:
            kind = KeyError if all(0 <= token < 1 << 32 for token in tokens) else OverflowError
            raise kind(str(error)) from error

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text of the ids; `errors` is what `bytes.decode` takes."""
        return self.decode_bytes(tokens).decode("utf-8", errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of one id; a `KeyError` if it does not exist."""
        return self.decode_bytes([token])

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """The bytes of each id."""
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """The text, and for each id the index of the first character that it has bytes of.

        Raises:
            UnicodeDecodeError: If the bytes are not UTF-8.
        """
        parts = self.decode_tokens_bytes(tokens)
        begun = [sum(not _continues(byte) for byte in part) for part in parts]
        before = accumulate(begun, initial=0)
        # A token that begins inside of a character has bytes of the one before.
        offsets = [max(n - _continues(part[0]), 0) for n, part in zip(before, parts, strict=False)]
        return b"".join(parts).decode("utf-8"), offsets

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """As `decode` for each."""
        return [self.decode(tokens, errors) for tokens in batch]

    def decode_bytes_batch(
        self, batch: Sequence[Sequence[int]], *, num_threads: int = 8
    ) -> list[bytes]:
        """As `decode_bytes` for each."""
        return [self.decode_bytes(tokens) for tokens in batch]

    def token_byte_values(self) -> list[bytes]:
        """The bytes of every ordinary token, in order."""
        tokens = self._tokenizer.vocab.items()
        return sorted(token for token_id, token in tokens if token_id not in self._special_ids)

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`; a `KeyError` without one."""
        return self._specials[_core.END_OF_TEXT.encode()]

    def is_special_token(self, token: int) -> bool:
        """Whether the id is that of a special token."""
        return token in self._special_ids

    @property
    def n_vocab(self) -> int:
        """The highest id and 1."""
        return self.max_token_value + 1


def _str(text: str) -> str:
    """`text`; tiktoken takes no `bytes`, which `Tokenizer` does."""
    if not isinstance(text, str):
        raise TypeError(f"text is of type {type(text).__name__}, expected str")
    return text


def _continues(byte: int) -> bool:
    """Whether the byte is one of a UTF-8 character's but not its first."""
    return byte & 0xC0 == 0x80
