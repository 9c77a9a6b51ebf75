"""From a text to a data folder: documents, tokenizer, token files.

What `minillm demo` shows, and what a bare `minillm pretrain` does unseen: the two commands of
`minillm-bpe` that a user would type, on text that needs no download. `prepared.json` is written
last and says what was done; so a second call keeps a complete folder, and makes a half-made one
again.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from minillm.data.local_text import TextFile, file_documents, stdlib_documents, write_documents
from minillm.data.stories import FLOOR_BITS_PER_BYTE, story_documents
from minillm.files import replace_file
from minillm.messages import with_hint
from minillm.tokenizer import Tokenizer
from minillm.tokenizer.commands.encode import encode
from minillm.tokenizer.commands.train import train as train_tokenizer

STORIES, STDLIB = "stories", "stdlib"

VOCAB_SIZE = 1536
"""For the stories, room for a token for each of their thousand words."""

STORIES_BYTES = 8_000_000
MIN_BYTES, MAX_BYTES = 100_000, 16_000_000
"""Of less text too little could be held out; more would only cost time."""

Tell = Callable[[str, str], None]
"""Hears the name of a stage, and what came of it."""


@dataclass(frozen=True)
class Prepared:
    """What a data folder was made of.

    Attributes:
        source: `stories`, `stdlib` or a path.
        seed: Of the stories.
        floor: Fewest bits per byte that a model can reach, where that is known.
        stages: What was told of each stage.
    """

    source: str
    seed: int
    floor: float | None
    stages: dict[str, str]


def prepare_stories(folder: Path) -> Prepared:
    """Makes a data folder of the built-in stories, or keeps the one that is there."""
    return prepare(STORIES, folder, seed=0, tell=lambda _stage, _text: None)


def prepare(source: str, folder: Path, *, seed: int, tell: Tell) -> Prepared:
    """Makes a data folder, or keeps the complete one that is there.

    Args:
        source: `stories`, `stdlib` for the Python sources on this disk, or a text file.
        folder: Where everything goes.
        seed: Which stories.
        tell: Told of each stage, `text`, `tokenizer` and `encode`, when it is done.

    Raises:
        ValueError: If the folder was made of something else, or the text is too short.
        OSError: If the text cannot be read.
    """
    record = folder / "prepared.json"
    if record.exists():
        prepared = Prepared(**json.loads(record.read_text(encoding="utf-8")))
        _check_same(prepared, source, seed, folder)
        for stage, outcome in prepared.stages.items():
            tell(stage, f"{outcome} (kept)")
        return prepared

    folder.mkdir(parents=True, exist_ok=True)
    stages: dict[str, str] = {}
    floor = FLOOR_BITS_PER_BYTE if source == STORIES else None

    def told(stage: str, outcome: str) -> None:
        stages[stage] = outcome
        tell(stage, outcome)

    text = _write_text(source, folder, seed=seed)
    known = f"; entropy floor {floor:.4f} bits per byte" if floor else ""
    size = f"{text.bytes / 1e6:.1f} MB, {text.documents:,} documents"
    told("text", f"{source}: {size}, sha256 {text.sha256[:12]}{known}")
    told("tokenizer", _train_tokenizer(folder))
    told("encode", _encode(folder, text))
    prepared = Prepared(source, seed, floor, stages)
    replace_file(record, f"{json.dumps(asdict(prepared), indent=1)}\n".encode())
    return prepared


def _check_same(prepared: Prepared, source: str, seed: int, folder: Path) -> None:
    if (prepared.source, prepared.seed) != (source, seed):
        made_of = f"{prepared.source} with seed {prepared.seed}"
        error = ValueError(f"`{folder}` holds {made_of}, not {source} with seed {seed}")
        raise with_hint(error, "choose another folder, or delete that one")


def _write_text(source: str, folder: Path, *, seed: int) -> TextFile:
    limit = MAX_BYTES
    if source == STORIES:
        documents, limit = story_documents(seed=seed), STORIES_BYTES
    elif source == STDLIB:
        documents = stdlib_documents()
    else:
        documents = file_documents(Path(source), max_bytes=limit)
    text = write_documents(folder / "text.txt", documents, max_bytes=limit)
    if text.bytes < MIN_BYTES:
        raise ValueError(f"`{source}` has {text.bytes:,} bytes, expected at least {MIN_BYTES:,}")
    return text


def _train_tokenizer(folder: Path) -> str:
    began = time.monotonic()
    file = folder / "tokenizer.json"
    train_tokenizer(folder / "text.txt", vocab_size=(VOCAB_SIZE,), out=file, quiet=True)
    tokenizer = Tokenizer.load(file)
    tokens = [ascii((a + b).decode("utf-8", "replace")) for a, b in tokenizer.merges]
    some = " ".join(tokens[:: max(len(tokens) // 8, 1)])
    return f"{len(tokenizer):,} tokens in {_seconds_since(began)}; some: {some}"


def _encode(folder: Path, text: TextFile) -> str:
    began = time.monotonic()
    encode(
        folder / "text.txt",
        tokenizer=folder / "tokenizer.json",
        out=folder / "train.bin",
        val_fraction=0.02 if text.bytes > MAX_BYTES / 4 else 0.1,
        quiet=True,
    )
    train, val = (json.loads((folder / f"{part}.json").read_bytes()) for part in ("train", "val"))
    tokens = train["tokens"] + val["tokens"]
    return (
        f"{tokens / 1e6:.2f} M tokens ({train['dtype']}) in {_seconds_since(began)},"
        f" {(train['bytes'] + val['bytes']) / tokens:.2f} bytes per token,"
        f" {val['documents']:,} documents held out"
    )


def _seconds_since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
