"""`min_frequency` and `max_token_length` mean what they mean to Hugging Face, but for one byte.

There, a merge is made if its token is *shorter* than `max_token_length`; here, if it is no longer.
"""

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


@pytest.fixture
def theirs(hugging_face_merges):
    return lambda texts, **limits: hugging_face_merges(texts, 4000, **limits)


@pytest.mark.parametrize("min_frequency", [2, 20, 300])
def test_min_frequency_gives_equal_merges(texts, theirs, min_frequency):
    found = ours(texts, min_frequency=min_frequency)
    assert found == theirs(texts, min_frequency=min_frequency)


@pytest.mark.parametrize("longest", [2, 3, 5, 15])
def test_max_token_length_gives_equal_merges(texts, theirs, longest):
    found = ours(texts, max_token_length=longest)
    assert found == theirs(texts, max_token_length=longest + 1)
    assert max(len(left + right) for left, right in found) == longest


def test_both_limits_together_give_equal_merges(texts, theirs):
    limits = {"min_frequency": 30, "max_token_length": 4}
    assert ours(texts, **limits) == theirs(texts, **limits | {"max_token_length": 5})
