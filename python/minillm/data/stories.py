"""Built-in training text: small stories from a grammar, as many of them as one asks for.

A first run should need no download, no licence question and no patience. These stories are our own
text, drawn by seed and equal on every machine, and a small model learns them in minutes. And since
the grammar's entropy is known exactly (`grammar.py` says why), the screen can show how far a model
is from the best that any model can do.

What they teach is what language models learn first: words, then sentences, then memory. Who was
named at the start comes back at the end, and so do the thing that was lost, the place and the
family; to get those right, a model has to look back a hundred tokens.
"""

import random
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from minillm.config.files import read_file
from minillm.data.grammar import Grammar
from minillm.data.local_text import TextFile, write_documents

_RULES = "story_rules.yaml"

STORIES = Grammar(**read_file(resources.files("minillm.data") / _RULES, _RULES))

FLOOR_BITS_PER_BYTE = STORIES.entropy.bits_per_byte
"""The fewest bits per byte of story; an end-of-text token has no bytes, but its bits count."""


def story_documents(*, seed: int) -> Iterator[bytes]:
    """Stories without end; the seed alone decides which."""
    rng = random.Random(seed)  # noqa: S311, stories are no secret
    while True:
        yield STORIES.sample(rng).text.encode()


def write_stories(path: Path, *, size_bytes: int, seed: int) -> TextFile:
    """Writes whole stories, each followed by the end-of-text token, until the file has its size.

    A larger file of the same seed starts with the smaller one.
    """
    return write_documents(path, story_documents(seed=seed), max_bytes=size_bytes)
