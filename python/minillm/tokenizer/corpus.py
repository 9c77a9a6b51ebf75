"""What a tokenizer is trained on: tells files from texts before any work starts."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from minillm.files import FilePath
from minillm.messages import with_hint
from minillm.tokenizer.inputs import Files

Corpus: TypeAlias = FilePath | Iterable[FilePath]


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


def _names_file(item: FilePath) -> bool:
    # Not `Path.exists`, which raises for a text that is too long to be a name.
    return isinstance(item, os.PathLike) or os.path.exists(item)  # noqa: PTH110


def _text(item: FilePath) -> str:
    if not isinstance(item, str):
        raise TypeError(f"an iterable to train on holds {type(item).__name__}, expected str")
    return item
