import pytest
import torch
from torch.nn.attention import flex_attention

from minillm.model import flex


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def flex_without_a_compiler(monkeypatch):
    """FlexAttention step by step: a kernel for each mask takes a minute to compile."""
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex, "compiled_flex", lambda: flex_attention.flex_attention)
