"""Byte-level BPE: train a vocabulary, turn text into ids and ids into text."""

from minillm.tokenizer.tokenizer import Tokenizer, pretokenize

__all__ = ["Tokenizer", "pretokenize"]
