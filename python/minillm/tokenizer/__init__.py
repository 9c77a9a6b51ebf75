"""Byte-level BPE: train a vocabulary, turn text into ids and ids into text."""

from minillm.tokenizer.counts import Counts
from minillm.tokenizer.tiktoken_api import as_tiktoken
from minillm.tokenizer.tokenizer import Tokenizer, pretokenize

__all__ = ["Counts", "Tokenizer", "as_tiktoken", "pretokenize"]
