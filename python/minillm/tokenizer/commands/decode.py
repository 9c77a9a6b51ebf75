"""`minillm-bpe decode`: a token file back to text."""

import os
import sys
from pathlib import Path

from cyclopts.types import NonNegativeInt

from minillm import _core
from minillm.files import named_in_errors
from minillm.tokenizer.tokenizer import Tokenizer

DECODE_TOKENS = 1 << 20


def decode(
    file: Path, *, tokenizer: Path | None = None, tokens: NonNegativeInt | None = None
) -> None:
    """Write the text of a token file to standard output, byte for byte.

    The file is compared with its checksums first, unless only some `tokens` of it are wanted.

    Args:
        file: A token file, or one of nanoGPT, llm.c or numpy; without a manifest, its first bytes
            tell which.
        tokenizer: By default the `tokenizer.json` beside the token file.
        tokens: Stop after this many tokens.
    """
    shard = _core.Shard(file)
    decoder = Tokenizer.load(tokenizer or file.with_name("tokenizer.json"))
    shard.check_tokenizer(decoder.sha256)
    if tokens is None:
        shard.verify()
    end = len(shard) if tokens is None else min(tokens, len(shard))
    try:
        for start in range(0, end, DECODE_TOKENS):
            ids = shard.read(start, min(DECODE_TOKENS, end - start))
            # Its positions are those in this part of the file.
            with named_in_errors(file if start == 0 else f"{file}, from token {start} on"):
                text = decoder.decode_bytes(ids)
            sys.stdout.buffer.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough. Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
