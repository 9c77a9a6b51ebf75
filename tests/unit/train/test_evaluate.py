import contextlib
import math

import numpy as np
import pytest
import torch
from torch import nn

from minillm.data import TokenFile, evaluation_windows
from minillm.train import evaluate


class Uniform(nn.Module):
    """Gives each of 8 ids the same probability."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.logits = nn.Parameter(torch.zeros(8))

    def forward(self, ids, *, targets, documents):
        assert not self.training
        logits = self.dropout(self.logits).expand(targets.numel(), 8)
        return nn.functional.cross_entropy(logits, targets.flatten())


@pytest.fixture
def call(tmp_path):
    ids = [3, 1, 2, 7, 0, 7, 5]
    np.array(ids, dtype="<u2").tofile(tmp_path / "val.bin")

    def evaluate_uniform(model, **changes):
        options = {
            "token_bytes": None,
            "autocast": contextlib.nullcontext(),
            "is_stopped": lambda: False,
        }
        tokens = TokenFile(tmp_path / "val.bin")
        batches = evaluation_windows(tokens, seq_len=4, batch_size=2, max_batches=None)
        return evaluate(model, batches, **(options | changes))

    return evaluate_uniform


def test_uniform_model_has_the_entropy_of_its_choice(call):
    evaluation = call(Uniform())
    assert evaluation.loss == pytest.approx(math.log(8))
    assert evaluation.tokens == 6
    assert evaluation.bits_per_byte is None
    assert str(evaluation) == "val loss 2.0794  (6 tokens)"


def test_bits_per_byte_count_the_bytes_of_predicted_tokens(call):
    """Ids 1, 2, 7, 0, 7, 5 of which 7 is the end of a text and has none: 18 bits, 8 bytes."""
    lengths = np.array([1, 2, 4, 100, 1, 1, 1, 0])
    evaluation = call(Uniform(), token_bytes=lengths)
    assert evaluation.bits_per_byte == pytest.approx(18 / 8)


def test_model_is_put_back_into_training(call):
    model = Uniform().train()
    call(model)
    assert model.training


def test_stopped_evaluation_gives_nothing(call):
    assert call(Uniform(), is_stopped=lambda: True) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_damaged_weight_is_named(call, value):
    model = Uniform()
    model.logits.data[3] = value
    with pytest.raises(ValueError, match="validation loss is nan: weight `logits` is not finite"):
        call(model)


def test_logits_that_overflow_are_told_from_damaged_weights(call):
    model = Uniform()
    model.logits.data[3] = 3e38
    model.dropout = torch.nn.Softplus(threshold=math.inf)  # log(1 + e^x)
    with pytest.raises(ValueError, match="validation loss is nan: its logits overflow"):
        call(model)
