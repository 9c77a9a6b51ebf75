"""`min_frequency` and `max_token_length` mean what they mean to Hugging Face, but for one byte.

There, a merge is made if its token is *shorter* than `max_token_length`; here, if it is no longer.
"""

import json
import sysconfig
from pathlib import Path

import pytest

from minillm.tokenizer import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:vocab_size is")


@pytest.fixture(scope="module")
def texts():
    """About 1 MB of Python, and characters of several bytes."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:40]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return [*texts, "naïve café, Ελληνικά, 안녕하세요, नमस्ते दुनिया, 你好\uff0c世界 " * 100]


def ours(texts, **limits):
    options = {"special_tokens": (), "tie_break": "hf", **limits}
    return Tokenizer.train(iter(texts), 4000, **options).merges


def theirs(texts, **limits):
    from tokenizers import Tokenizer as HfTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = HfTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, show_progress=False, initial_alphabet=alphabet, **limits
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(bytes_of(part) for part in pair) for pair in merges]


def bytes_of(text):
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(256 + i): byte for i, byte in enumerate(others)}
    return bytes(byte_of[char] for char in text)


@pytest.mark.parametrize("min_frequency", [2, 20, 300])
def test_min_frequency_gives_equal_merges(texts, min_frequency):
    found = ours(texts, min_frequency=min_frequency)
    assert found == theirs(texts, min_frequency=min_frequency)


@pytest.mark.parametrize("longest", [2, 3, 5, 15])
def test_max_token_length_gives_equal_merges(texts, longest):
    found = ours(texts, max_token_length=longest)
    assert found == theirs(texts, max_token_length=longest + 1)
    assert max(len(left + right) for left, right in found) == longest


def test_both_limits_together_give_equal_merges(texts):
    limits = {"min_frequency": 30, "max_token_length": 4}
    assert ours(texts, **limits) == theirs(texts, **limits | {"max_token_length": 5})
