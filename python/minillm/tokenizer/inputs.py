"""What is read: names, folders and patterns in, a list of files out; or texts, as they are.

The order is that of the arguments. What one argument stands for, a folder or a pattern, is sorted
by path, so that it depends neither on the file system nor on the shell. What a file holds, text or
jsonl, packed or not, the extension knows by its suffix.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePath
from typing import Self, TypeAlias, cast

from minillm.files import FilePath
from minillm.messages import UsageError, say, with_hint

Corpus: TypeAlias = FilePath | Iterable[FilePath]

STDIN = "-"
TEXT_FIELD = "text"
JSON_LINES = (".jsonl", ".ndjson")
# What is looked for in folders; other files have to be named, or matched by a pattern.
SUFFIXES = (".txt", *JSON_LINES)
PACKED = (".gz", ".zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files to be read one after the other; the extension takes it as a corpus.

    Attributes:
        paths: Their names; "-" is standard input.
        field: The field of each line of jsonl files that is a document.
        stdin: What standard input is read through. The extension does not read it by itself,
            because a read that waits for a slow writer hears Ctrl-C only in Python.
        n_each: How many of `paths` each argument stands for.
    """

    paths: list[str]
    field: str
    stdin: BufferedReader | None
    n_each: list[int]

    @classmethod
    def of(cls, given: Iterable[FilePath], *, field: str = TEXT_FIELD) -> Self:
        """The files that names, folders and patterns stand for.

        Raises:
            ValueError: If a folder has no file to read, a pattern matches none, or standard input
                is named twice.
        """
        groups = [_files_of(os.fspath(name)) for name in given]
        paths = [path for group in groups for path in group]
        if paths.count(STDIN) > 1:
            raise UsageError("`-` is given twice, but standard input can be read only once")
        stdin = cast("BufferedReader", sys.stdin.buffer) if STDIN in paths else None
        return cls(paths=paths, field=field, stdin=stdin, n_each=[len(group) for group in groups])

    @classmethod
    def or_stdin(cls, given: Sequence[FilePath], *, field: str) -> Self:
        """As `of`; standard input if nothing is given, unless it is a terminal."""
        if not given and sys.stdin.isatty():
            raise with_hint(
                UsageError("no files given, and standard input is a terminal"),
                "name text files, or pipe text in: `cat corpus.txt | minillm-bpe ...`",
            )
        return cls.of(given or (STDIN,), field=field)

    @property
    def on_disk(self) -> list[Path]:
        """All but standard input."""
        return [Path(path) for path in self.paths if path != STDIN]

    def weights(self, weights: Sequence[int]) -> list[int]:
        """A weight for each path, from one for each argument."""
        if not weights:
            return []
        if len(weights) != len(self.n_each):
            n_files = len(self.n_each)
            raise ValueError(f"weights: {len(weights)} for {n_files} files, expected one each")
        each = zip(weights, self.n_each, strict=True)
        return [weight for weight, n_files in each for _ in range(n_files)]


def files_or_texts(
    corpus: Corpus, *, field: str, weights: Sequence[int] = ()
) -> tuple[Files | Iterator[str], list[int]]:
    """Tells files from texts, and the weight of each file from those of the arguments.

    A string or path alone is a file, a folder or a pattern, and so are paths in a list. Strings in
    an iterable are texts, with one exception: a list of strings that all name something that exists
    is a list of files, because that is how file names mostly arrive. Some of each is an error and
    not a guess.

    Raises:
        ValueError: If some strings of a list name files and others do not.
    """
    names: Sequence[FilePath] = []
    if isinstance(corpus, str | os.PathLike):
        corpus = names = [corpus]
    elif isinstance(corpus, Sequence):
        names = [item for item in corpus if _names_file(item)]
        if 0 < len(names) < len(corpus):
            other = next(item for item in corpus if not _names_file(item))
            error = ValueError(f"`{names[0]}` is a file, but {other!r:.60} is not")
            raise with_hint(error, "pass pathlib.Path objects for files, or a generator for texts")
    if not names:
        return map(_text, corpus), list(weights)
    files = Files.of(names, field=field)
    return files, files.weights(weights)


def warn_of_field(field: str, *read: Files) -> None:
    """Says that `--field` was given, but not for what is read."""
    suffixes = {_unpacked_suffix(PurePath(path)) for files in read for path in files.paths}
    if field != TEXT_FIELD and suffixes.isdisjoint(JSON_LINES):
        say(f"warning: --field `{field}` has no effect: no file is jsonl")


def _files_of(name: str) -> list[str]:
    """What one argument stands for; a name of nothing is the system's to refuse."""
    if name in (STDIN, "/dev/stdin"):
        return [STDIN]
    if Path(name).is_dir():
        found = {path for path in _below(Path(name)) if _unpacked_suffix(path) in SUFFIXES}
        if not found:
            looked_for = f"{', '.join(SUFFIXES)}, also with {' or '.join(PACKED)} behind"
            error = ValueError(f"`{name}` holds no file to read")
            raise with_hint(error, f"looked for, at any depth: {looked_for}")
    elif os.path.lexists(name) or not glob.has_magic(name):
        return [name]
    elif not (found := _matches(name)):
        raise ValueError(f"`{name}` matches no file")
    return [str(path) for path in sorted(found, key=lambda path: path.parts)]


def _matches(pattern: str) -> set[Path]:
    """Files that match; hidden ones have to be asked for, as in a shell."""
    parts = PurePath(pattern).parts
    if "**" not in parts:
        names = glob.glob(pattern)  # noqa: PTH207  `Path.glob` takes hidden files
        return {path for path in map(Path, names) if path.is_file()}
    at = parts.index("**")
    rest = parts[at + 1 :] or ("*",)
    if "**" in rest:
        raise ValueError(f"`{pattern}` has `**` twice, expected once")
    # What is below not by `glob` either: it runs into loops of symbolic links.
    folders = map(Path, glob.glob(str(PurePath(*parts[:at]))))  # noqa: PTH207
    below = ((path, path.relative_to(folder)) for folder in folders for path in _below(folder))
    return {path for path, name in below if name.match(str(PurePath(*rest)))}


def _below(folder: Path) -> Iterator[Path]:
    """All files below, but hidden ones. A folder that links lead to twice is read once."""
    seen = set()
    for name, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        status = Path(name).stat()
        key = (status.st_dev, status.st_ino)
        if key in seen:
            folders.clear()
            continue
        seen.add(key)
        # Sorted, so that of two ways to a folder always the same is taken.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            path = Path(name, file)
            if not file.startswith(".") and path.is_file():
                yield path


def _raise(error: OSError) -> None:
    """A folder that cannot be read must not be left out in silence."""
    raise error


def _unpacked_suffix(path: PurePath) -> str:
    name = PurePath(path.name.lower())
    return PurePath(name.stem).suffix if name.suffix in PACKED else name.suffix


def _names_file(item: FilePath) -> bool:
    # Not `Path.exists`, which raises for a text that is too long to be a name.
    return isinstance(item, os.PathLike) or os.path.exists(item)  # noqa: PTH110


def _text(item: FilePath) -> str:
    if not isinstance(item, str):
        raise TypeError(f"an iterable to train on holds {type(item).__name__}, expected str")
    return item
