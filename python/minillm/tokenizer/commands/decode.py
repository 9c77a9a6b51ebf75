"""`minillm-bpe decode`: a token file back to text."""

import os
import sys
from pathlib import Path

from cyclopts.types import NonNegativeInt

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
    from minillm.tokenizer.layouts import IdReader  # noqa: PLC0415  needs numpy

    ids_of_file = IdReader(file)
    decoder = Tokenizer.load(tokenizer or file.with_name("tokenizer.json"))
    if ids_of_file.shard is not None:
        ids_of_file.shard.check_tokenizer(decoder.sha256)
        if tokens is None:
            ids_of_file.shard.verify()
    end = len(ids_of_file) if tokens is None else min(tokens, len(ids_of_file))
    try:
        for start in range(0, end, DECODE_TOKENS):
            ids = ids_of_file.read(start, min(DECODE_TOKENS, end - start))
            # Its positions are those in this part of the file.
            with named_in_errors(file if start == 0 else f"{file}, from token {start} on"):
                text = decoder.decode_bytes(ids)
            sys.stdout.buffer.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough. Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
