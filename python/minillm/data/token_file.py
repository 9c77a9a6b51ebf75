"""One shard of token ids, checked before anything trusts it.

A shard is `NAME.bin`, headerless little-endian ids, and its manifest `NAME.json`, which says how
many there are, of which type and from which tokenizer. Training on the wrong ids gives no error,
only a worse model; so whatever does not fit is refused here, by the name of the field that does
not. A file without a manifest is read as that of another program: nanoGPT's, llm.c's or numpy's
(`tokenizer/layouts.py`). Where there is no `NAME.bin`, its manifest may name the parts that
`minillm-bpe join` has joined under that name.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from minillm import _core
from minillm.tokenizer.layouts import Layout, read_layout

FORMAT = "minillm.tokens"
FORMAT_VERSION = 1
Piece = tuple[Path, int, int, int]
"""Where ids lie in a row: file, bytes before the first, bytes of each, how many."""
SCAN_TOKENS = 1 << 22
"""Ids per piece of the scan for the largest: bounds its memory whatever the file's size."""


class Part(BaseModel):
    """One of the files that a manifest joins."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    tokens: NonNegativeInt


class TokenManifest(BaseModel):
    """What `NAME.json` says of `NAME.bin`; fields that only other readers need are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: str
    format_version: int
    dtype: str
    tokens: NonNegativeInt
    documents: NonNegativeInt
    bytes: NonNegativeInt
    vocab_size: PositiveInt
    eot_id: NonNegativeInt | None
    tokenizer_sha256: str
    parts: tuple[Part, ...] | None = None


class TokenFile:
    """The ids of one shard, read-only.

    Attributes:
        path: The `.bin` file.
        manifest: Its manifest, or `None` for another program's file.
        layout: Where the ids lie.
        pieces: The same as the Rust crate wants it; of parts, one behind the other.
    """

    def __init__(self, path: Path) -> None:
        """Opens `path` and holds its length against its manifest.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is cut, or not what its manifest says, or empty without one that
                says so.
        """
        self.path = path
        if path.suffix == ".unfinished":
            raise ValueError(f"`{path}` is not finished: `minillm-bpe encode --resume` goes on")
        # `train.npy` has none: `train.json` is that of `train.bin`.
        self.manifest = None if path.suffix == ".npy" else _read_manifest(path.with_suffix(".json"))
        if self.manifest is not None and self.manifest.parts is not None and not path.exists():
            self.pieces = _open_parts(path, self.manifest, self.manifest.parts)
            tokens = sum(piece[3] for piece in self.pieces)
            _check_number(path, self.manifest, tokens)
            self.layout = Layout("nanogpt", _dtype(path, self.manifest), 0, tokens)
        else:
            self.layout = (
                read_layout(path) if self.manifest is None else _layout(path, self.manifest)
            )
            _, dtype, offset, tokens = self.layout
            self.pieces = [(path, offset, dtype.itemsize, tokens)]

    def read(self, starts: Sequence[int], count: int) -> NDArray[np.unsignedinteger]:
        """`count` ids from each start on, in the type of the file: an array of that many columns.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it has become shorter.
        """
        return _core.read_rows(self.pieces, starts, count).reshape(len(starts), count)

    @property
    def ids(self) -> NDArray[np.unsignedinteger]:
        """All ids, read into memory."""
        return self.read([0], len(self))[0] if len(self) else np.empty(0, self.layout.dtype)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is a token file of that name, be it one that joins others."""
        if path.exists():
            return True
        manifest = _read_manifest(path.with_suffix(".json"))
        return manifest is not None and manifest.parts is not None

    def verify(self) -> None:
        """Reads everything and compares it with the checksums of the manifest, index included.

        At the speed of the disk. A file without a manifest has no checksums.

        Raises:
            ValueError: Naming the first block that differs, or the field of the manifest.
        """
        if self.manifest is not None:
            _core.Shard(self.path).verify()

    def __len__(self) -> int:
        return self.layout.tokens

    @property
    def sha256(self) -> str:
        """Identity of the contents, cheap to take.

        Of the manifest where there is one: it holds a checksum of each block. A bare file is known
        by its length and its first and last megabyte.
        """
        if self.manifest is not None:
            return hashlib.sha256(self.path.with_suffix(".json").read_bytes()).hexdigest()
        digest = hashlib.sha256(str(len(self)).encode())
        count = min(len(self), 1 << 19)
        digest.update(self.read([0, len(self) - count], count).tobytes())
        return digest.hexdigest()

    def check_tokenizer(self, sha256: str, tokenizer: Path | str) -> None:
        """Refuses ids that another tokenizer wrote.

        Raises:
            ValueError: If the manifest names another hash than `sha256`.
        """
        if self.manifest is not None and self.manifest.tokenizer_sha256 != sha256:
            raise ValueError(
                f"`{self.path}` was encoded by another tokenizer: its manifest has"
                f" tokenizer_sha256 {self.manifest.tokenizer_sha256[:12]}..,"
                f" `{tokenizer}` is {sha256[:12]}.."
                "\nhint: encode the text again with `minillm-bpe encode`"
            )

    def check_ids(self, vocab_size: int) -> None:
        """Refuses ids that have changed since they were written, or that a vocabulary lacks.

        Reads the whole file once, at the speed of the disk: changed ids would only make a worse
        model, and one out of range would stop training hours later, on a GPU without a word about
        the cause. Ids that fit their checksums are below `vocab_size` of the manifest, as they
        were when they were written; others are looked at one by one.

        Raises:
            ValueError: Naming the first block that differs from its checksum, or the first id
                beyond `vocab_size` and its position.
        """
        self.verify()
        if self.manifest is not None and self.manifest.vocab_size <= vocab_size:
            return
        for start in range(0, len(self), SCAN_TOKENS):
            ids = self.read([start], min(SCAN_TOKENS, len(self) - start))[0]
            if int(ids.max()) >= vocab_size:
                place = int(np.argmax(ids >= vocab_size))
                raise ValueError(
                    f"`{self.path}`: id {int(ids[place])} at position {start + place} is beyond"
                    f" the vocabulary of {vocab_size}"
                )


def _open_parts(path: Path, manifest: TokenManifest, parts: tuple[Part, ...]) -> list[Piece]:
    pieces = []
    for part in parts:
        if Path(part.name).name != part.name:
            raise ValueError(
                f"`{path.with_suffix('.json')}`: part `{part.name}`, expected a file of the same"
                " folder"
            )
        file = TokenFile(path.with_name(part.name))
        expected = (manifest.tokenizer_sha256, manifest.dtype, part.tokens)
        found = file.manifest and (file.manifest.tokenizer_sha256, file.manifest.dtype, len(file))
        if found != expected or file.pieces[0][0] != file.path:
            raise ValueError(
                f"`{file.path}` is not the part that `{path.with_suffix('.json')}` joins"
                "\nhint: join the parts again with `minillm-bpe join`"
            )
        pieces += file.pieces
    return pieces


def _read_manifest(path: Path) -> TokenManifest | None:
    if not path.exists():
        return None
    try:
        manifest = TokenManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "json"
        raise ValueError(f"`{path}`: {field}: {first['msg'].lower()}") from error
    if manifest.format != FORMAT:
        raise ValueError(f"`{path}`: format is `{manifest.format}`, expected `{FORMAT}`")
    if manifest.format_version != FORMAT_VERSION:
        raise ValueError(
            f"`{path}`: format_version is {manifest.format_version}, this minillm reads"
            f" {FORMAT_VERSION}"
        )
    return manifest


def _dtype(path: Path, manifest: TokenManifest) -> np.dtype[np.unsignedinteger]:
    types = {"uint16": "<u2", "uint32": "<u4"}
    if manifest.dtype not in types:
        raise ValueError(
            f"`{path.with_suffix('.json')}`: dtype is `{manifest.dtype}`, expected uint16 or uint32"
        )
    return np.dtype(types[manifest.dtype])


def _layout(path: Path, manifest: TokenManifest) -> Layout:
    dtype = _dtype(path, manifest)
    size = path.stat().st_size
    if size == 0 and manifest.tokens:
        raise ValueError(f"`{path}` is empty")
    if size % dtype.itemsize:
        raise ValueError(
            f"`{path}`: {size} bytes is not a multiple of {dtype.itemsize}, the size of a"
            f" {dtype.name} id; the file is cut short or of another type"
        )
    tokens = size // dtype.itemsize
    _check_number(path, manifest, tokens)
    return Layout("nanogpt", dtype, 0, tokens)


def _check_number(path: Path, manifest: TokenManifest, tokens: int) -> None:
    if tokens != manifest.tokens:
        raise ValueError(
            f"`{path}`: its manifest says {manifest.tokens} tokens, the file holds {tokens}"
        )
