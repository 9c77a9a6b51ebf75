"""Types of the Rust extension; what each function means is documented in `rust/`."""

from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bpe",
    "Encoded",
    "Progress",
    "Shard",
    "ShardReport",
    "Stream",
    "Trained",
    "__version__",
    "encode_files",
    "permuted_index",
    "pretokenize",
    "train",
]

__version__: str

_Text: TypeAlias = str | bytes | bytearray
_Corpus: TypeAlias = Sequence[str] | BufferedReader | Iterator[str]

@final
class Progress:
    def __new__(cls) -> Self: ...
    @property
    def phase(self) -> Literal["idle", "count", "merge", "encode"]: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    def cancel(self) -> None: ...

@final
class Bpe:
    def __new__(
        cls,
        vocab: Sequence[tuple[int, bytes]],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[tuple[str, int | None]],
        pattern: str | None,
    ) -> Self: ...
    @staticmethod
    def from_ranks(
        ranks: Sequence[tuple[bytes, int]],
        special_tokens: Sequence[tuple[str, int]],
        pattern: str | None,
    ) -> Bpe: ...
    @staticmethod
    def from_tiktoken(
        ranks: str, special_tokens: Sequence[tuple[str, int]], pattern: str | None
    ) -> Bpe: ...
    @staticmethod
    def from_gpt2_files(
        vocab: str,
        merges: str,
        special_tokens: Sequence[tuple[str, int | None]],
        pattern: str | None,
    ) -> Bpe: ...
    @staticmethod
    def from_json(text: str) -> Bpe: ...
    def to_json(self) -> str: ...
    def sha256(self) -> str: ...
    def vocab(self) -> dict[int, bytes]: ...
    def merges(self) -> list[tuple[bytes, bytes]]: ...
    def special_tokens(self) -> dict[str, int]: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eot_id(self) -> int | None: ...
    def __len__(self) -> int: ...
    def find_special(self, text: _Text, names: Sequence[str] | None) -> tuple[str, int] | None: ...
    def encode(self, text: _Text, names: Sequence[str] | None) -> list[int]: ...
    def encode_to_numpy(self, text: _Text, names: Sequence[str] | None) -> NDArray[np.uint32]: ...
    def encode_batch(
        self, texts: Sequence[_Text], names: Sequence[str] | None, threads: int
    ) -> list[list[int]]: ...
    def stream(self, names: Sequence[str] | None) -> Stream: ...
    def decode(self, ids: Sequence[int] | NDArray[np.integer[Any]] | memoryview) -> bytes: ...

@final
class Stream:
    def push(self, piece: _Text) -> list[int]: ...
    def finish(self) -> list[int]: ...

@final
class Trained:
    @property
    def bpe(self) -> Bpe: ...
    @property
    def merge_counts(self) -> list[int]: ...
    @property
    def corpus_bytes(self) -> int: ...
    @property
    def pre_tokens(self) -> int: ...
    @property
    def distinct_pre_tokens(self) -> int: ...
    @property
    def corpus_tokens(self) -> int: ...
    @property
    def stopped_early(self) -> str | None: ...

def train(
    corpus: _Corpus,
    vocab_size: int,
    *,
    special_tokens: Sequence[str],
    specials_first: bool,
    pattern: str | None,
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    threads: int,
    progress: Progress,
) -> Trained: ...

@final
class ShardReport:
    @property
    def path(self) -> Path: ...
    @property
    def dtype(self) -> Literal["uint16", "uint32"]: ...
    @property
    def tokens(self) -> int: ...
    @property
    def documents(self) -> int: ...
    @property
    def bytes(self) -> int: ...

@final
class Encoded:
    @property
    def train(self) -> ShardReport: ...
    @property
    def val(self) -> ShardReport | None: ...
    @property
    def blank_documents(self) -> int: ...
    @property
    def corpus_bytes(self) -> int: ...

@final
class Shard:
    def __new__(cls, path: str | Path) -> Self: ...
    def __len__(self) -> int: ...
    def check_tokenizer(self, sha256: str) -> None: ...
    def read(self, start: int, count: int) -> NDArray[np.uint32]: ...

def encode_files(
    corpus: _Corpus,
    bpe: Bpe,
    out: str | Path,
    *,
    val_out: str | Path | None,
    val_fraction: float,
    dtype: str | None,
    threads: int,
    separator: str,
    progress: Progress,
) -> Encoded: ...
def permuted_index(seed: int, epoch: int, n: int, start: int, count: int) -> NDArray[np.uint64]: ...
def pretokenize(text: _Text, pattern: str | None) -> list[bytes]: ...
