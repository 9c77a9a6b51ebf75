"""The vocabularies that the benchmarks of encoding and decoding use, as each rival reads them.

`gpt2` and `cl100k` are published ones; their files are no part of the project. `learned` is what a
text itself teaches, with ties broken as rustbpe breaks them: rustbpe reads no vocabulary, but
learns this one, too, and so can be compared.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from harness import SEPARATOR

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""As OpenAI published it, and as other libraries know it by its text."""

R50K_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""The same splits in the form of tiktoken, whose engine overflows on a million spaces otherwise."""

CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)

N_LEARNED = 32_000


@dataclass(frozen=True)
class Vocabulary:
    """What a file of ranks leaves out."""

    name: str
    file: str
    """Below the folder of published vocabularies."""
    pattern: str
    """How minillm and gigatoken call it."""
    regex: str
    eot_id: int

    @property
    def special_tokens(self) -> dict[str, int]:
        """The one that separates documents."""
        return {SEPARATOR: self.eot_id}


GPT2 = Vocabulary("gpt2", "tiktoken/r50k_base.tiktoken", "gpt2", R50K_PATTERN, 50_256)
CL100K = Vocabulary("cl100k", "tiktoken/cl100k_base.tiktoken", "cl100k", CL100K_PATTERN, 100_257)
LEARNED = Vocabulary("learned", "", "gpt2", GPT2_PATTERN, N_LEARNED)
VOCABULARIES = {one.name: one for one in (GPT2, CL100K, LEARNED)}


def ranks(file: Path) -> dict[bytes, int]:
    """The tokens of a file of ranks with their ids."""
    lines = (line.split() for line in file.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def prepare(vocabulary: Vocabulary, published: Path, text: Path, folder: Path) -> None:
    """Writes `ranks.tiktoken` and `tokenizer.json` into `folder`, the same tokens in both."""
    from minillm.tokenizer import Tokenizer

    if vocabulary is LEARNED:
        tokenizer = Tokenizer.train(text, N_LEARNED + 1, tie_break="id")
    else:
        tokenizer = Tokenizer.from_ranks(
            published / vocabulary.file, vocabulary.special_tokens, vocabulary.pattern
        )
    tokenizer.save_ranks(folder / "ranks.tiktoken")
    tokenizer.save(folder / "tokenizer.json")
