"""Byte-level BPE: train a vocabulary, turn text into ids and ids into text."""

from minillm.tokenizer.counts import Counts
from minillm.tokenizer.foreign import ForeignTokenizer, TextEncoder, encode_texts, text_encoder
from minillm.tokenizer.tokenizer import Tokenizer, as_tiktoken, pretokenize

__all__ = [
    "Counts", "ForeignTokenizer", "TextEncoder", "Tokenizer", "as_tiktoken", "encode_texts",
    "pretokenize", "text_encoder",
]  # fmt: skip
