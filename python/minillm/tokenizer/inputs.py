"""What is read: names, folders and patterns in, a list of files out; or texts, as they are.

The order is that of the arguments. What one argument stands for, a folder or a pattern, is sorted
by path, so that it depends neither on the file system nor on the shell. That is the extension's to
do (`rust/minillm-bpe/src/input/names.rs`), which also knows by a file's suffix what it holds.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Self, TypeAlias, cast

from minillm import _core
from minillm.files import FilePath
from minillm.messages import UsageError, say, with_hint

Corpus: TypeAlias = FilePath | Iterable[FilePath]

STDIN = "-"
TEXT_FIELD = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files to be read one after the other; the extension takes it as a corpus.

    Attributes:
        paths: Their names; "-" is standard input.
        field: The field of each line of jsonl files that is a document.
        stdin: What standard input is read through. The extension does not read it by itself,
            because a read that waits for a slow writer hears Ctrl-C only in Python.
        weights: How often each of `paths` counts; none: once each.
    """

    paths: list[str]
    field: str
    stdin: BufferedReader | None
    weights: list[int]

    @classmethod
    def of(
        cls, given: Iterable[FilePath], *, field: str = TEXT_FIELD, weights: Sequence[int] = ()
    ) -> Self:
        """The files that names, folders and patterns stand for; `weights` has one of each.

        Raises:
            ValueError: If a folder has no file to read, a pattern matches none, standard input is
                named twice, or there are not as many weights as names.
        """
        groups = _core.expand_files(list(given))
        paths = [path for group in groups for path in group]
        if paths.count(STDIN) > 1:
            raise UsageError("`-` is given twice, but standard input can be read only once")
        stdin = cast("BufferedReader", sys.stdin.buffer) if STDIN in paths else None
        if weights and len(weights) != len(groups):
            n_files = len(groups)
            raise ValueError(f"weights: {len(weights)} for {n_files} files, expected one each")
        each = [weight for weight, group in zip(weights, groups, strict=False) for _ in group]
        return cls(paths=paths, field=field, stdin=stdin, weights=each)

    @classmethod
    def or_stdin(
        cls, given: Sequence[FilePath], *, field: str, weights: Sequence[int] = ()
    ) -> Self:
        """As `of`; standard input if nothing is given, unless it is a terminal."""
        if not given and sys.stdin.isatty():
            raise with_hint(
                UsageError("no files given, and standard input is a terminal"),
                "name text files, or pipe text in: `cat corpus.txt | minillm-bpe ...`",
            )
        return cls.of(given or (STDIN,), field=field, weights=weights)

    @property
    def on_disk(self) -> list[Path]:
        """All but standard input."""
        return [Path(path) for path in self.paths if path != STDIN]


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
    files = Files.of(names, field=field, weights=weights)
    return files, files.weights


def warn_of_field(field: str, *read: Files) -> None:
    """Says that `--field` was given, but not for what is read."""
    if field != TEXT_FIELD and not any(_core.holds_json_lines(files.paths) for files in read):
        say(f"warning: --field `{field}` has no effect: no file is jsonl")


def _names_file(item: FilePath) -> bool:
    # Not `Path.exists`, which raises for a text that is too long to be a name.
    return isinstance(item, os.PathLike) or os.path.exists(item)  # noqa: PTH110


def _text(item: FilePath) -> str:
    if not isinstance(item, str):
        raise TypeError(f"an iterable to train on holds {type(item).__name__}, expected str")
    return item
