"""Types of the Rust extension; what each function means is documented in `rust/`."""

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from io import BufferedReader
from os import PathLike
from pathlib import Path
from typing import (
    Any,
    Literal,
    NoReturn,
    NotRequired,
    Protocol,
    Self,
    TypeAlias,
    TypedDict,
    final,
)

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__all__ = [
    "END_OF_TEXT",
    "TABLE_ENTRIES",
    "Bpe",
    "CountReport",
    "Counts",
    "CountsFiles",
    "Encoded",
    "Encoding",
    "Gather",
    "Order",
    "Progress",
    "RowReader",
    "Rows",
    "Shard",
    "ShardReport",
    "ShardWriter",
    "Stream",
    "StreamDecoder",
    "Table",
    "Trained",
    "__version__",
    "arrange",
    "convert_ids",
    "count",
    "count_to_file",
    "cut_files",
    "encode_files",
    "expand_files",
    "foreign_vocab",
    "gathered",
    "holds_json_lines",
    "join_parts",
    "measure",
    "peak_memory_bytes",
    "pretokenize",
    "read_layout",
    "read_rows",
    "tokens_by_source",
    "train",
    "unfinished_encode",
    "unicode_version",
]

END_OF_TEXT: str
TABLE_ENTRIES: int
__version__: str
unicode_version: str

class _Files(Protocol):
    @property
    def paths(self) -> Sequence[str]: ...
    @property
    def field(self) -> str: ...
    @property
    def stdin(self) -> BufferedReader | None: ...

_Text: TypeAlias = str | bytes | bytearray
_Ids: TypeAlias = Sequence[int] | NDArray[np.integer[Any]] | memoryview
_Corpus: TypeAlias = _Files | Iterator[str]
_Allowed: TypeAlias = Literal["all"] | AbstractSet[str]
_Disallowed: TypeAlias = Literal["all"] | Collection[str]
_Surrogates: TypeAlias = Literal["strict", "replace"]
_Path: TypeAlias = str | PathLike[str]
_Piece: TypeAlias = tuple[_Path, int, int, int]
_IdArray: TypeAlias = NDArray[np.uint16] | NDArray[np.uint32]

@final
class Progress:
    def __new__(cls) -> Self: ...
    @property
    def phase(
        self,
    ) -> Literal["", "counting", "adding up", "merging", "encoding", "gathering", "arranging"]: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    def describe(self) -> str: ...
    def cancel(self) -> None: ...

@disjoint_base
class Bpe:
    def __new__(cls, bpe: Bpe) -> Self: ...
    @staticmethod
    def of_parts(
        vocab: Sequence[tuple[int, bytes]],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[tuple[str, int | None]],
        pattern: str | None,
    ) -> Bpe: ...
    @staticmethod
    def of_ranks(
        ranks: Sequence[tuple[bytes, int]],
        special_tokens: Sequence[tuple[str, int]],
        pattern: str | None,
    ) -> Bpe: ...
    @staticmethod
    def of_tiktoken(
        ranks: str, special_tokens: Sequence[tuple[str, int]], pattern: str | None
    ) -> Bpe: ...
    @staticmethod
    def of_gpt2_files(
        vocab: str,
        merges: str,
        special_tokens: Sequence[tuple[str, int | None]],
        pattern: str | None,
    ) -> Bpe: ...
    @staticmethod
    def of_json(text: str, *, skip_normalizer: bool = False) -> Bpe: ...
    def to_json(self) -> str: ...
    def to_tiktoken(self) -> str: ...
    def to_gpt2_files(self) -> tuple[str, str]: ...
    def truncated(self, vocab_size: int) -> Bpe: ...
    def with_table(self, path: _Path) -> Bpe: ...
    @property
    def sha256(self) -> str: ...
    @property
    def vocab(self) -> dict[int, bytes]: ...
    @property
    def merges(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def merge_counts(self) -> list[int] | None: ...
    @property
    def n_merges(self) -> int: ...
    def longest_tokens(self, count: int) -> list[bytes]: ...
    @property
    def special_tokens(self) -> dict[str, int]: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eot_id(self) -> int | None: ...
    def token_id(self, token: bytes) -> int | None: ...
    def token_bytes_lengths(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def encode(
        self,
        text: _Text,
        *,
        allowed_special: _Allowed = ...,
        disallowed_special: _Disallowed = ...,
        errors: _Surrogates = "strict",
    ) -> list[int]: ...
    def encode_to_numpy(
        self,
        text: _Text,
        *,
        allowed_special: _Allowed = ...,
        disallowed_special: _Disallowed = ...,
        errors: _Surrogates = "strict",
    ) -> _IdArray: ...
    def encode_ordinary(self, text: _Text, *, errors: _Surrogates = "strict") -> list[int]: ...
    def encode_bytes(self, data: bytes) -> list[int]: ...
    def encode_batch(
        self,
        texts: Sequence[_Text],
        *,
        allowed_special: _Allowed = ...,
        disallowed_special: _Disallowed = ...,
        errors: _Surrogates = "strict",
        threads: int = ...,
    ) -> tuple[_IdArray, NDArray[np.uint64]]: ...
    def encode_batch_to_lists(
        self,
        texts: Sequence[_Text],
        *,
        allowed_special: _Allowed = ...,
        disallowed_special: _Disallowed = ...,
        errors: _Surrogates = "strict",
        threads: int = ...,
    ) -> list[list[int]]: ...
    def stream(self, allowed_special: _Allowed) -> Stream: ...
    def decode(
        self, ids: _Ids, errors: Literal["replace", "strict"] = "replace", *, threads: int = ...
    ) -> str: ...
    def decode_bytes(self, ids: _Ids, *, threads: int = ...) -> bytes: ...
    def stream_decoder(self) -> StreamDecoder: ...

@final
class Stream:
    def push(self, piece: _Text) -> list[int]: ...
    def finish(self) -> list[int]: ...

@final
class StreamDecoder:
    def push(self, ids: _Ids) -> str: ...
    def finish(self) -> str: ...

@final
class Encoding:
    def __new__(cls, tokenizer: Bpe, name: str = "minillm") -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def max_token_value(self) -> int: ...
    @property
    def n_vocab(self) -> int: ...
    @property
    def eot_token(self) -> int: ...
    @property
    def special_tokens_set(self) -> set[str]: ...
    def encode_ordinary(self, text: str) -> list[int]: ...
    def encode(
        self,
        text: str,
        *,
        allowed_special: _Disallowed = ...,
        disallowed_special: _Disallowed = "all",
    ) -> list[int]: ...
    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: _Disallowed = ...,
        disallowed_special: _Disallowed = "all",
    ) -> NDArray[np.uint32]: ...
    def encode_ordinary_batch(
        self, text: Sequence[str], *, num_threads: int = 8
    ) -> list[list[int]]: ...
    def encode_batch(
        self,
        text: Sequence[str],
        *,
        num_threads: int = 8,
        allowed_special: _Disallowed = ...,
        disallowed_special: _Disallowed = "all",
    ) -> list[list[int]]: ...
    @staticmethod
    def encode_with_unstable(*_args: object, **_options: object) -> NoReturn: ...
    def encode_single_token(self, text_or_bytes: str | bytes) -> int: ...
    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str: ...
    def decode_bytes(self, tokens: Sequence[int]) -> bytes: ...
    def decode_single_token_bytes(self, token: int) -> bytes: ...
    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]: ...
    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]: ...
    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]: ...
    def decode_bytes_batch(
        self, batch: Sequence[Sequence[int]], *, num_threads: int = 8
    ) -> list[bytes]: ...
    def token_byte_values(self) -> list[bytes]: ...
    def is_special_token(self, token: int) -> bool: ...

@disjoint_base
class Counts:
    def __new__(cls, counts: Counts) -> Self: ...
    def save(self, path: _Path) -> None: ...
    def plus(self, other: Counts) -> Counts: ...
    @property
    def total(self) -> int: ...
    @property
    def corpus_bytes(self) -> int: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def special_tokens(self) -> list[str]: ...
    def __len__(self) -> int: ...

@final
class CountsFiles:
    def __new__(cls, paths: Sequence[_Path], weights: Sequence[int]) -> Self: ...
    def load(self, progress: Progress = ...) -> Counts: ...
    def expect_pattern(self, pattern: str | None) -> None: ...
    def expect_special_tokens(self, special_tokens: Sequence[str]) -> None: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def special_tokens(self) -> list[str]: ...

@final
class CountReport:
    @property
    def corpus_bytes(self) -> int: ...
    @property
    def distinct_pre_tokens(self) -> int: ...
    @property
    def spills(self) -> int: ...
    @property
    def spilled_bytes(self) -> int: ...

def count(
    corpus: _Corpus,
    *,
    special_tokens: Sequence[str],
    pattern: str | None,
    weights: Sequence[int],
    threads: int,
    max_memory: int | None,
    temp_dir: _Path | None,
    progress: Progress = ...,
) -> Counts: ...
def count_to_file(
    corpus: _Corpus,
    out: _Path,
    *,
    special_tokens: Sequence[str],
    pattern: str | None,
    weights: Sequence[int],
    threads: int,
    max_memory: int | None,
    temp_dir: _Path | None,
    progress: Progress = ...,
) -> CountReport: ...

@final
class Trained:
    @property
    def bpe(self) -> Bpe: ...
    @property
    def corpus_bytes(self) -> int: ...
    @property
    def text_bytes(self) -> int: ...
    @property
    def pre_tokens(self) -> int: ...
    @property
    def distinct_pre_tokens(self) -> int: ...
    @property
    def corpus_tokens(self) -> int: ...
    @property
    def smaller(self) -> list[tuple[int, int]]: ...
    @property
    def stopped_early(self) -> str | None: ...
    @property
    def spills(self) -> int: ...
    @property
    def spilled_bytes(self) -> int: ...
    @property
    def table(self) -> Table | None: ...

@final
class Table:
    def save(self, path: _Path, bpe: Bpe) -> None: ...
    def refitted(self, bpe: Bpe) -> Table: ...
    def __len__(self) -> int: ...

def train(
    corpus: _Corpus | Counts | CountsFiles,
    vocab_size: int,
    *,
    smaller_sizes: Sequence[int] = ...,
    base: Bpe | None,
    special_tokens: Sequence[str],
    specials_first: bool = False,
    pattern: str | None,
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    weights: Sequence[int],
    threads: int,
    max_memory: int | None,
    temp_dir: _Path | None,
    table_entries: int = 0,
    progress: Progress = ...,
) -> Trained: ...
def measure(
    corpus: _Corpus, bpe: Bpe, *, threads: int, progress: Progress = ...
) -> tuple[int, int]: ...

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
    @property
    def layout(self) -> Literal["minillm", "nanogpt", "llmc", "npy"]: ...
    @property
    def dtype(self) -> Literal["uint16", "uint32"]: ...
    def __len__(self) -> int: ...
    def check_tokenizer(self, sha256: str) -> None: ...
    def read(self, start: int, count: int) -> _IdArray: ...
    def verify(self) -> None: ...

@final
class ShardWriter:
    def __new__(
        cls, path: _Path, *, vocab_size: int, eot_id: int | None, tokenizer_sha256: str
    ) -> Self: ...
    def push(self, ids: Sequence[int] | NDArray[np.integer[Any]], n_bytes: int) -> None: ...
    def finish(self, sources: Sequence[tuple[str, int]]) -> ShardReport: ...

def encode_files(
    corpus: _Corpus,
    bpe: Bpe,
    out: str | Path,
    *,
    val_out: str | Path | None,
    val_fraction: float,
    dtype: str | None,
    threads: int,
    eot: str,
    separator: str,
    sync_every: int,
    resume: bool,
    part: tuple[int, int] | None = None,
    progress: Progress = ...,
) -> Encoded: ...
def read_layout(
    path: _Path,
) -> tuple[Literal["nanogpt", "llmc", "npy"], Literal["uint16", "uint32"], int, int]: ...
def convert_ids(
    path: _Path, to: str, out: _Path
) -> tuple[Literal["minillm", "nanogpt", "llmc", "npy"], Literal["uint16", "uint32"], int]: ...
def join_parts(parts: Sequence[str | Path], out: str | Path) -> tuple[int, int, int]: ...
def unfinished_encode(out: str | Path) -> int | None: ...

_Documents: TypeAlias = Literal["separator", "line", "file"]
_InvalidUtf8: TypeAlias = Literal["keep", "replace", "skip", "stop"]
_OnBadRow: TypeAlias = Literal["stop", "skip"]
_Range: TypeAlias = tuple[_Path, int, int]

class _Gathered(TypedDict):
    rows: int
    documents: int
    bytes: int
    lines: int
    dropped: dict[str, int]
    limited: bool

@final
class Gather:
    def __new__(
        cls,
        out: _Path,
        *,
        seed: int | None,
        documents: _Documents,
        separator: str = ...,
        min_length: int = 0,
        max_repetition: float | None = None,
        invalid_utf8: _InvalidUtf8,
        on_bad_row: _OnBadRow,
        max_documents: int | None = None,
        max_bytes: int | None = None,
        progress: Progress = ...,
    ) -> Self: ...
    def files(
        self,
        paths: Sequence[_Path | _Range],
        *,
        field: str = "text",
        template: str | None = None,
    ) -> bool: ...
    def rows(
        self,
        offsets: NDArray[np.int64],
        data: NDArray[np.uint8],
        first: int,
        n: int,
        name: str,
        first_row: int,
    ) -> bool: ...
    def finish(self) -> _Gathered: ...

def gathered(
    out: _Path,
    *,
    seed: int | None,
    documents: _Documents,
    separator: str = ...,
    min_length: int = 0,
    max_repetition: float | None = None,
    invalid_utf8: _InvalidUtf8,
    on_bad_row: _OnBadRow,
    max_documents: int | None = None,
    max_bytes: int | None = None,
) -> _Gathered | None: ...
def cut_files(
    paths: Sequence[_Path], part_bytes: int, *, documents: _Documents, separator: str = ...
) -> list[list[tuple[Path, int, int]]]: ...

class _Source(TypedDict):
    name: str
    parts: Sequence[_Path]
    weight: NotRequired[float | None]
    max_documents: NotRequired[int | None]
    max_bytes: NotRequired[int | None]
    max_tokens: NotRequired[int | None]

class _SourceStats(TypedDict):
    name: str
    documents: int
    bytes: int
    lines: int
    tokens: int
    duplicates: int
    epochs: float
    ran_out_at: int | None

class _Arranged(TypedDict):
    sources: list[_SourceStats]
    documents: int
    bytes: int
    lines: int
    tokens: int
    duplicates: int

class _InShard(TypedDict):
    documents: int
    bytes: int
    tokens: int

class _BySource(TypedDict):
    train: _InShard
    val: _InShard

def arrange(
    sources: Sequence[_Source],
    *,
    out: _Path | Sequence[_Path],
    deduplicate: bool,
    weigh: Literal["documents", "bytes", "tokens"],
    when_exhausted: Literal["stop", "repeat", "reweight"],
    max_documents: int | None = None,
    max_bytes: int | None = None,
    max_tokens: int | None = None,
    encoder: Bpe | None = None,
    separator: str = ...,
    val_fraction: float = 0.0,
    progress: Progress = ...,
) -> _Arranged: ...
def tokens_by_source(
    sources: _Path, train: _Path, val: _Path | None, n_sources: int
) -> list[_BySource]: ...

@final
class Rows:
    @staticmethod
    def windows(places: int, stride: int) -> Rows: ...
    @staticmethod
    def at_documents(path: _Path, seq_len: int) -> Rows: ...
    @property
    def number(self) -> int: ...

@final
class Order:
    def __new__(cls, sources: Sequence[Rows], weights: Sequence[float], seed: int) -> Self: ...
    def rows(
        self, index: int, count: int, rank: int, ranks: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]: ...
    def epochs(self, samples: int) -> list[tuple[int, int]]: ...

@final
class RowReader:
    def __new__(
        cls, sources: Sequence[Sequence[_Piece]], order: Order, row_tokens: int
    ) -> Self: ...
    def read(self, index: int, count: int, rank: int, ranks: int) -> _IdArray: ...

def read_rows(pieces: Sequence[_Piece], starts: Sequence[int], row_tokens: int) -> _IdArray: ...
def pretokenize(text: _Text, pattern: str | None) -> list[bytes]: ...
def expand_files(names: Sequence[_Path]) -> list[list[str]]: ...
def holds_json_lines(paths: Sequence[_Path]) -> bool: ...
def foreign_vocab(
    serialized: str, vocab: dict[str, int]
) -> tuple[dict[int, bytes], dict[str, int]]: ...
def peak_memory_bytes() -> int | None: ...
