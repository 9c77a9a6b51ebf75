import pytest
import torch
from torch.nn.attention import flex_attention

from minillm.model import flex


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def flex_without_a_compiler(monkeypatch):
    """FlexAttention step by step: a kernel for each mask takes a minute to compile."""
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex, "compiled_flex", lambda: flex_attention.flex_attention)
