import pytest
import torch
from jaxtyping import TypeCheckError

from textbook import model as textbook


def test_axes_are_checked_while_tests_run():
    """Guards the guard: a weight of one channel would broadcast, and nobody would notice."""
    with pytest.raises(TypeCheckError):
        textbook.rms_norm(torch.ones(2, 4), torch.ones(1))


def test_dtypes_are_checked_while_tests_run():
    with pytest.raises(TypeCheckError):
        textbook.silu(torch.ones(2, dtype=torch.int64))
