"""Built-in training text: small stories from a grammar, as many of them as one asks for.

A first run should need no download, no licence question and no patience. These stories are our own
text, drawn by seed and equal on every machine, and a small model learns them in minutes. And since
the grammar's entropy is known exactly, the screen can show how far a model is from the best that
any model can do.

What they teach is what language models learn first: words, then sentences, then memory. Who was
named at the start comes back at the end, and so do the thing that was lost, the place and the
family; to get those right, a model has to look back a hundred tokens.
"""

import random
from collections.abc import Iterator
from importlib import resources

from minillm.config.files import read_file
from minillm.data.grammar import Grammar

_RULES = "story_rules.yaml"

STORIES = Grammar(**read_file(resources.files("minillm.data") / _RULES, _RULES))

FLOOR_BITS_PER_BYTE = 0.34140183724554396
"""The fewest bits per byte of story; an end-of-text token has no bytes, but its bits count.

It follows from the rules: `docs/textbook/entropy.py` computes it, and a test compares.
"""


def story_documents(*, seed: int) -> Iterator[bytes]:
    """Stories without end; the seed alone decides which."""
    rng = random.Random(seed)  # noqa: S311, stories are no secret
    while True:
        yield STORIES.sample(rng).text.encode()
