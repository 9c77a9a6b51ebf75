"""Text to ids and back, with one vocabulary.

Every byte string survives `decode_bytes(encode_bytes(data))`, valid UTF-8 or not. How text is
split and merged: `docs/tokenizer.md`.

Ids come as arrays wherever there may be many: a Python `int` takes 32 bytes and more, an id in an
array two. Threads live as long as the call that asks for them, so a process may fork between any
two calls. (A pool that outlives the call is what makes other tokenizers hang in forked children.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias, Unpack

from minillm import _core
from minillm.files import FilePath
from minillm.tokenizer.inputs import TEXT_FIELD, Files
from minillm.tokenizer.limits import thread_count
from minillm.tokenizer.outputs import prepare_token_files
from minillm.tokenizer.special import (
    END_OF_TEXT,
    Allowed,
    Disallowed,
    SpecialOptions,
    allowed_names,
    names,
)
from minillm.tokenizer.vocabulary import IdArray, Ids, Offsets, Vocabulary

Surrogates: TypeAlias = Literal["strict", "replace"]


class Codec(Vocabulary):
    """What one does with a vocabulary: encode and decode."""

    __slots__ = ()

    def encode(
        self,
        text: str,
        *,
        allowed_special: Allowed = frozenset(),
        disallowed_special: Disallowed = "all",
        errors: Surrogates = "strict",
    ) -> list[int]:
        """The ids of `text`, with special tokens treated as tiktoken does.

        Args:
            text: Any text.
            allowed_special: "all", or the special tokens that become their ids.
            disallowed_special: The special tokens that `text` must not hold; "all" is all that
                are not allowed. What is in neither set is ordinary text.
            errors: What becomes of a lone surrogate, which has no UTF-8 form: "strict" refuses
                the text, "replace" puts U+FFFD.

        Raises:
            ValueError: If `text` holds a disallowed token or a lone surrogate; it says where.
        """
        text = encodable(text, errors)
        allowed = allowed_names(self.bpe, text, allowed_special, disallowed_special)
        return self.bpe.encode(text, allowed)

    def encode_to_numpy(
        self, text: str, *, errors: Surrogates = "strict", **special: Unpack[SpecialOptions]
    ) -> IdArray:
        """As `encode`; 16-bit ids if `vocab_size` allows it, as in token files."""
        text = encodable(text, errors)
        return self.bpe.encode_to_numpy(text, allowed_names(self.bpe, text, **special))

    def encode_ordinary(self, text: str, *, errors: Surrogates = "strict") -> list[int]:
        """The ids of `text` with every special token in it taken as ordinary text."""
        return self.bpe.encode(encodable(text, errors), [])

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes, valid UTF-8 or not, with no special tokens."""
        return self.bpe.encode(data, [])

    def encode_batch(
        self,
        texts: Sequence[str | bytes],
        *,
        errors: Surrogates = "strict",
        threads: int = 0,
        **special: Unpack[SpecialOptions],
    ) -> tuple[IdArray, Offsets]:
        """The ids of all texts in one array, and where those of each begin and end.

        Those of text `i` are `ids[offsets[i]:offsets[i + 1]]`. Other Python threads run meanwhile.
        A single long text is shared among the threads, too.

        Args:
            texts: A list, best of a few megabytes and more. UTF-8 in `bytes` is encoded where it
                lies; a `str` that is not ASCII is first turned into it.
            errors: What becomes of lone surrogates, as for `encode`.
            threads: How many; 0 takes every core. The ids do not depend on it.
            special: `allowed_special` and `disallowed_special` as for `encode`.

        Raises:
            ValueError: As for `encode`; it names the text by its index.
        """
        threads = thread_count(threads)
        if isinstance(texts, str | bytes):
            raise ValueError(f"texts is {texts!r:.60}, expected a list of texts")
        if errors != "strict":
            texts = [text if isinstance(text, bytes) else encodable(text, errors) for text in texts]
        allowed = allowed_names(self.bpe, texts, **special)
        return _core.encode_batch(self.bpe, texts, allowed, threads)

    def encode_batch_to_lists(
        self,
        texts: Sequence[str | bytes],
        *,
        errors: Surrogates = "strict",
        threads: int = 0,
        **special: Unpack[SpecialOptions],
    ) -> list[list[int]]:
        """As `encode_batch`, a list for each text; slower, and many times larger."""
        ids, offsets = self.encode_batch(texts, errors=errors, threads=threads, **special)
        return [ids[start:end].tolist() for start, end in pairwise(offsets.tolist())]

    def encode_iterable(
        self, texts: Iterable[str], *, allowed_special: Allowed = "all"
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
        stream = self.bpe.stream(names(allowed_special))
        for text in texts:
            yield from stream.push(text)
        yield from stream.finish()

    def encode_files(
        self,
        files: Sequence[FilePath],
        out: FilePath,
        *,
        field: str = TEXT_FIELD,
        separator: str = END_OF_TEXT,
        val_fraction: float = 0.0,
        dtype: Literal["uint16", "uint32"] | None = None,
        eot: Literal["append", "prepend", "none"] = "append",
        sync_every: int = 256_000_000,
        resume: bool = False,
        threads: int = 0,
    ) -> _core.Encoded:
        """Turns files of text into a token file, as `minillm-bpe encode` does.

        Args:
            files: Files, folders and patterns, of text or jsonl, packed or not.
            separator: Special token that separates documents in text.
            field: The field of jsonl files that is the text.
            out: The token file; its index, its manifest and this tokenizer are put beside it.
            val_fraction: Part of the documents, chosen by a hash of their text, that go to
                `val.bin` in the same folder.
            dtype: None takes 16 bits where the vocabulary allows it.
            eot: Where the id of the separator stands: behind each document, before it, nowhere.
            sync_every: After so many bytes of output, the state is saved on the disk.
            resume: Goes on from the state that was saved last, if there is one.
            threads: How many; 0 takes every core. The result does not depend on it.

        Returns:
            Tokens, documents and bytes of what was written.

        Raises:
            ValueError: If there is no document, or an output would overwrite an input.
            OSError: If a file cannot be read or written.
        """
        threads = thread_count(threads)
        if isinstance(files, (str, os.PathLike)):
            raise ValueError(f"files is `{os.fspath(files)}`, expected a list of files")
        corpus = Files.of(files, field=field)
        encoded = _core.encode_files(
            corpus,
            self.bpe,
            Path(out),
            val_out=prepare_token_files(corpus, Path(out), val_fraction),
            val_fraction=val_fraction,
            dtype=dtype,
            threads=threads,
            eot=eot,
            separator=separator,
            sync_every=sync_every,
            resume=resume,
            part=None,
            progress=_core.Progress(),
        )
        self.save(Path(out).with_name("tokenizer.json"))
        return encoded

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
        return self.bpe.decode(ids, thread_count(threads))

    def stream_decoder(self) -> _core.StreamDecoder:
        """Decodes ids that arrive one after the other, such as those of a model.

        Its `push(ids)` returns the text that is certain then: half a character waits for its rest,
        bytes that are not UTF-8 are U+FFFD. `finish()` returns U+FFFD for a rest that never came.
        However the ids are cut into pieces, the whole is what `decode` returns for all of them.
        """
        return self.bpe.stream_decoder()


def encodable(text: str, errors: Surrogates) -> str:
    """`text` itself, or with "replace" what has a UTF-8 form whatever `text` holds.

    Two surrogates that make a character become it, any other becomes U+FFFD.
    """
    if errors == "strict":
        return text
    if errors != "replace":
        raise ValueError(f"errors is {errors!r}, expected 'strict' or 'replace'")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
