"""The encoders that are compared: each one's way from documents in memory to ids in memory.

Everyone gets the same documents in the form that it takes fastest and the same vocabulary, and is
called in the way that its own documents show for large texts. What comes back is made one array
outside the clock; so who returns lists of Python integers is timed with these, as its users are.

Three take part only where they can: rustbpe reads no vocabulary and learns `learned` itself,
bpe-openai brings its own vocabularies, of which `cl100k` is one, and `tokenizers-pre`, the coming
major version of Hugging Face's library, refuses cl100k's pattern as tiktoken has it. The last two
live in an environment beside this one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness
from harness import SEPARATOR, Contender
from vocabularies import CL100K, LEARNED, N_LEARNED, Vocabulary, ranks

BATCH = 256
"""Documents per call of Hugging Face's tokenizers, whose results hold far more than ids."""

Ids = NDArray[np.uint32]
Encode = Callable[[], Callable[[], Ids]]
"""Encodes everything; what it gives back turns the result into one array, outside the clock."""


def contenders(vocabulary: Vocabulary, beside: str | None) -> list[Contender]:
    """Who can encode with `vocabulary`; `beside` is the interpreter of the other environment."""
    able = [Contender(name, name) for name in ("minillm", "gigatoken", "tiktoken", "tokenizers")]
    if beside is not None and vocabulary is CL100K:
        able.append(Contender("bpe-openai", "bpe-openai", python=beside))
    elif beside is not None:
        able.append(Contender("tokenizers-pre", "tokenizers", python=beside))
    if vocabulary is LEARNED:
        able.append(Contender("rustbpe", "rustbpe"))
    return able


def flat(rows: Sequence[Sequence[int]] | list[NDArray[Any]]) -> Ids:
    """All ids in one array."""
    return np.concatenate([np.asarray(row, dtype=np.uint32) for row in rows])


def prepare_minillm(corpus: Path, vocabulary: Vocabulary, folder: Path) -> Encode:
    """The package's own encoder: all documents in one call, as bytes, on its own threads."""
    from minillm.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_ranks(
        folder / "ranks.tiktoken", vocabulary.special_tokens, vocabulary.pattern
    )
    texts = [text.encode() for text in harness.documents(corpus)]
    n_threads = harness.threads()

    def encode() -> Callable[[], Ids]:
        ids, _ = tokenizer.encode_batch(texts, disallowed_special=(), threads=n_threads)
        return lambda: ids.astype(np.uint32)

    return encode


def prepare_gigatoken(corpus: Path, vocabulary: Vocabulary, folder: Path) -> Encode:
    """gigatoken: one buffer that it cuts at the separator itself, the fastest of its ways in."""
    import awkward
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(
        folder / "ranks.tiktoken", vocabulary.pattern, vocabulary.special_tokens
    )
    source = gigatoken.BytesSource(corpus.read_bytes(), separator=SEPARATOR)
    parallel = harness.threads() != 1

    def encode() -> Callable[[], Ids]:
        rows = tokenizer.encode_batch(source, parallel=parallel)
        return lambda: np.asarray(awkward.flatten(rows))

    return encode


def by_documents(encoding: Any, corpus: Path) -> Encode:  # noqa: ANN401 - two rivals' own types
    """One call per document, or a batch of them, with methods named as tiktoken names them."""
    texts = list(harness.documents(corpus))
    n_threads = harness.threads() or os.cpu_count() or 1

    def encode() -> Callable[[], Ids]:
        if n_threads == 1:
            rows = [encoding.encode_ordinary(text) for text in texts]
        else:
            rows = encoding.encode_ordinary_batch(texts, num_threads=n_threads)
        return lambda: flat(rows)

    return encode


def prepare_tiktoken(corpus: Path, vocabulary: Vocabulary, folder: Path) -> Encode:
    """tiktoken: one call per document, or its own threads over documents."""
    import tiktoken

    encoding = tiktoken.Encoding(
        vocabulary.name,
        pat_str=vocabulary.regex,
        mergeable_ranks=ranks(folder / "ranks.tiktoken"),
        special_tokens=vocabulary.special_tokens,
    )
    return by_documents(encoding, corpus)


def prepare_tokenizers(corpus: Path, _: Vocabulary, folder: Path) -> Encode:
    """Hugging Face: batches on its own threads; kept are the ids."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = list(harness.documents(corpus))

    def encode() -> Callable[[], Ids]:
        rows = []
        for start in range(0, len(texts), BATCH):
            batch = tokenizer.encode_batch_fast(
                texts[start : start + BATCH], add_special_tokens=False
            )
            rows += [encoding.ids for encoding in batch]
        return lambda: flat(rows)

    return encode


def prepare_tokenizers_pre(corpus: Path, _: Vocabulary, folder: Path) -> Encode:
    """Hugging Face's coming version: its results hold little more than an array of ids."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))  # types of 0.23 are known
    texts = list(harness.documents(corpus))

    def encode() -> Callable[[], Ids]:
        batch = tokenizer.encode_batch(texts, add_special_tokens=False)
        return lambda: flat([encoding.ids_array for encoding in batch])

    return encode


def prepare_rustbpe(corpus: Path, vocabulary: Vocabulary, _: Path) -> Encode:
    """rustbpe: learns its vocabulary first; then a call per document, or its threads over them."""
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(
        harness.documents(corpus), vocab_size=N_LEARNED, pattern=vocabulary.regex
    )
    texts = list(harness.documents(corpus))
    parallel = harness.threads() != 1

    def encode() -> Callable[[], Ids]:
        if parallel:
            rows = tokenizer.batch_encode(texts)
        else:
            rows = [tokenizer.encode(text) for text in texts]
        return lambda: flat(rows)

    return encode


def prepare_bpe_openai(corpus: Path, _vocabulary: Vocabulary, _folder: Path) -> Encode:
    """bpe-openai: a call per document; its batches are Python threads over the same calls."""
    import bpe_openai

    encoding = bpe_openai.get_encoding("cl100k_base")
    return by_documents(encoding, corpus)


PREPARE: dict[str, Callable[[Path, Vocabulary, Path], Encode]] = {
    "minillm": prepare_minillm,
    "gigatoken": prepare_gigatoken,
    "tiktoken": prepare_tiktoken,
    "tokenizers": prepare_tokenizers,
    "tokenizers-pre": prepare_tokenizers_pre,
    "rustbpe": prepare_rustbpe,
    "bpe-openai": prepare_bpe_openai,
}
