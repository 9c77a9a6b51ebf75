"""Built-in training text: small stories from a grammar, as many of them as one asks for.

A first run should need no download, no licence question and no patience. These stories are our own
text, drawn by seed and equal on every machine, and a small model learns them in minutes. And since
the grammar's entropy is known exactly (`grammar.py` says why), the screen can show how far a model
is from the best that any model can do.

What they teach is what language models learn first: words, then sentences, then memory. Who was
named at the start comes back at the end, and so do the thing that was lost, the place and the
family; to get those right, a model has to look back a hundred tokens.
"""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

from minillm.data.grammar import Grammar
from minillm.data.story_rules import CAST, RULES

END_OF_TEXT = "<|endoftext|>"

STORIES = Grammar(cast=CAST, rules=RULES)


@dataclass(frozen=True)
class StoryFile:
    """What was written."""

    documents: int
    bytes: int
    sha256: str


def write_stories(path: Path, *, size_bytes: int, seed: int) -> StoryFile:
    """Writes whole stories, each followed by the end-of-text token, until the file has its size.

    The file depends on the size and the seed alone, and a larger file starts with the smaller one.

    Args:
        path: File to write; it appears under its name when it is whole.
        size_bytes: Least size of the file.
        seed: Which stories.
    """
    rng = random.Random(seed)  # noqa: S311, stories are no secret
    digest = hashlib.sha256()
    documents = length = 0
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        while length < size_bytes:
            data = (STORIES.sample(rng).text + END_OF_TEXT).encode()
            file.write(data)
            digest.update(data)
            documents += 1
            length += len(data)
    partial.replace(path)
    return StoryFile(documents, length, digest.hexdigest())
