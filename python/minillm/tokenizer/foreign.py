"""Tokenizers of other libraries, where they drive encoding, pretraining and generation.

`TextEncoder` is all that these ask of a tokenizer. `Tokenizer` has it; a `tiktoken.Encoding`, a
`tokenizers.Tokenizer` or a fast tokenizer of `transformers` gets it from `text_encoder`. None of
the libraries is imported here: whoever passes one of their objects has.

A byte-level BPE is better converted than wrapped: `Tokenizer.from_tiktoken` and
`Tokenizer.from_hugging_face` give the same ids many times faster, and need the library only once.
Wrapping is for the rest, Unigram and SentencePiece's BPE above all. What such a tokenizer puts
before a text (a space, mostly) counts as text: bits per byte come out that much too low.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, final

from minillm import _core
from minillm.files import FilePath
from minillm.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_BYTES = 1 << 22
"""Text that is handed to another library at a time."""

Ids: TypeAlias = "Sequence[int] | NDArray[np.integer[Any]]"
Lengths: TypeAlias = "NDArray[np.int64]"
EncodeAll = Callable[[list[str]], Iterable[Sequence[int]]]
Parts = tuple[EncodeAll, dict[int, bytes], dict[str, int], str]
"""How a library encodes, bytes of each id, ids of special tokens, and a hash of all that."""


class TextEncoder(Protocol):
    """What encoding to token files, pretraining and generation ask of a tokenizer."""

    @property
    def vocab(self) -> dict[int, bytes]:
        """Bytes of each id, special tokens included."""

    @property
    def vocab_size(self) -> int:
        """Highest id + 1."""

    @property
    def eot_id(self) -> int | None:
        """The id that ends each document, if there is one."""

    @property
    def sha256(self) -> str:
        """Identity; token files and checkpoints name their tokenizer by it."""

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text`, with no special tokens."""

    def decode(self, ids: Ids) -> str:
        """The text of `ids`."""

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of `ids`."""

    def token_bytes_lengths(self) -> Lengths:
        """Bytes of text that each id stands for; 0 for special tokens."""


@final
@dataclass(eq=False)
class ForeignTokenizer:
    """A `TextEncoder` whose ids come from another library; `text_encoder` makes one."""

    encode_all: EncodeAll
    vocab: dict[int, bytes]
    special_ids: Collection[int]
    eot_id: int | None
    sha256: str

    @cached_property
    def vocab_size(self) -> int:
        """Highest id + 1."""
        return max(self.vocab) + 1

    def encode_ordinary(self, text: str) -> list[int]:
        """As the library encodes it, with no special tokens put before or behind."""
        (ids,) = self.encode_all([text])
        return list(ids)

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of the tokens, one after the other."""
        try:
            return b"".join(self.vocab[int(token_id)] for token_id in ids)
        except KeyError as error:
            raise ValueError(f"id {error} is not in the vocabulary") from error

    def decode(self, ids: Ids) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def token_bytes_lengths(self) -> Lengths:
        """As `Tokenizer.token_bytes_lengths`."""
        import numpy as np  # noqa: PLC0415  the commands do without it

        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for token_id, token in self.vocab.items():
            lengths[token_id] = len(token)
        lengths[list(self.special_ids)] = 0
        return lengths


def text_encoder(tokenizer: Any, *, eot: str | None = None) -> TextEncoder:  # noqa: ANN401
    """Any tokenizer as a `TextEncoder`.

    Args:
        tokenizer: A `Tokenizer`, which is one; a `tiktoken.Encoding`; a `tokenizers.Tokenizer`;
            or a fast tokenizer of `transformers`.
        eot: The special token that ends a document; None takes `<|endoftext|>` if there is one.
            A wrapped tokenizer keeps the one that it has.

    Raises:
        ValueError: If it is something else, has no special token `eot`, or its tokens do not stand
            for bytes.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if isinstance(tokenizer, ForeignTokenizer):
        return tokenizer
    if isinstance(tokenizer, Tokenizer):
        if eot is None:
            return tokenizer
        parts = _of_own(tokenizer)
    elif hasattr(tokenizer, "encode_ordinary_batch") and hasattr(tokenizer, "n_vocab"):
        parts = _of_tiktoken(tokenizer)
    elif hasattr(backend, "to_str") and hasattr(backend, "encode_batch"):
        parts = _of_hugging_face(backend)
    else:
        kind = type(backend).__name__
        raise ValueError(f"a {kind} is no tokenizer that is known here, see docs/tokenizers.md")
    encode_all, vocab, specials, sha256 = parts
    if eot is not None and eot not in specials:
        raise ValueError(f"eot is {eot!r}, but the special tokens are {sorted(specials)}")
    eot_id = specials.get(_core.END_OF_TEXT if eot is None else eot)
    return ForeignTokenizer(encode_all, vocab, specials.values(), eot_id, sha256)


def encode_texts(
    texts: Iterable[str], out: FilePath, *, tokenizer: TextEncoder, source: str = "texts"
) -> _core.ShardReport:
    """Writes a token file with any tokenizer; for files of text, `Tokenizer.encode_files` is fast.

    Args:
        texts: The documents. What is only white space is left out, as `minillm-bpe encode` does.
        out: The `.bin` file; index and manifest come to stand beside it, all at the end.
        tokenizer: `text_encoder` makes one. The manifest has its hash, its `eot_id` ends each
            document.
        source: What the manifest calls the texts.

    Raises:
        ValueError: If an id is beyond the vocabulary.
        OSError: If the file cannot be written, or somebody else writes it.
    """
    writer = _core.ShardWriter(
        out,
        vocab_size=tokenizer.vocab_size,
        eot_id=tokenizer.eot_id,
        tokenizer_sha256=tokenizer.sha256,
    )
    n_bytes = 0
    try:
        for batch in _batches(text for text in texts if text.strip(" \t\n\r\f\v")):
            for text, ids in zip(batch, _encoded(tokenizer, batch), strict=True):
                size = len(text.encode())
                writer.push(ids, size)
                n_bytes += size
        return writer.finish([(source, n_bytes)])
    finally:
        del writer  # a traceback that someone keeps would keep the file locked


def _encoded(tokenizer: TextEncoder, batch: list[str]) -> Iterable[Sequence[int]]:
    if isinstance(tokenizer, ForeignTokenizer):
        return tokenizer.encode_all(batch)
    return [tokenizer.encode_ordinary(text) for text in batch]


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _of_own(tokenizer: Tokenizer) -> Parts:
    encode_all = partial(tokenizer.encode_batch_to_lists, disallowed_special=())
    return encode_all, tokenizer.vocab, tokenizer.special_tokens, tokenizer.sha256


def _of_tiktoken(encoding: Any) -> Parts:  # noqa: ANN401
    specials = {text: encoding.encode_single_token(text) for text in encoding.special_tokens_set}
    vocab = {encoding.encode_single_token(token): token for token in encoding.token_byte_values()}
    vocab |= {token_id: text.encode() for text, token_id in specials.items()}
    facts = {
        "pattern": getattr(encoding, "_pat_str", None),
        "vocab": sorted((token_id, token.hex()) for token_id, token in vocab.items()),
        "special_tokens": sorted(specials.items()),
    }
    return encoding.encode_ordinary_batch, vocab, specials, _sha256(json.dumps(facts))


def _of_hugging_face(tokenizer: Any) -> Parts:  # noqa: ANN401
    serialized = tokenizer.to_str()
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    tokens, specials = _core.foreign_vocab(serialized, vocab)

    def encode_all(texts: list[str]) -> Iterable[Sequence[int]]:
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    return encode_all, tokens, specials, _sha256(serialized)


def _sha256(serialized: str) -> str:
    return hashlib.sha256(serialized.encode()).hexdigest()
