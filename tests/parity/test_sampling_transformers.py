"""Each step of sampling against the processor of the same name in `transformers`."""

import pytest
import torch

from minillm.config import SampleConfig
from minillm.infer.sampling import (
    Sampler,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    scale_by_temperature,
)

transformers = pytest.importorskip("transformers")

B, V = 6, 200


@pytest.fixture
def logits():
    """Without equals, which we keep by id and `transformers` keeps all."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 1.0, 3.0, 3.0, 10.0, 30.0])[:, None]
    return torch.randn(B, V, generator=generator) * spread


@pytest.fixture
def ids():
    return torch.randint(V, (B, 9), generator=torch.Generator().manual_seed(1))


def seen(ids):
    return torch.zeros(B, V, dtype=torch.bool).scatter(1, ids, True)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_temperature(logits, ids, temperature):
    theirs = transformers.TemperatureLogitsWarper(temperature)(ids, logits)
    ours = scale_by_temperature(logits, temperature)
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1))


@pytest.mark.parametrize("k", [1, 7, V, 2 * V])
def test_top_k(logits, ids, k):
    theirs = transformers.TopKLogitsWarper(k)(ids, logits)
    assert torch.equal(keep_top_k(logits, k), theirs)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.99])
def test_top_p(logits, ids, p):
    theirs = transformers.TopPLogitsWarper(p)(ids, logits)
    assert torch.equal(keep_top_p(logits, p), theirs)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.7, 1.0])
def test_min_p(logits, ids, p):
    theirs = transformers.MinPLogitsWarper(p)(ids, logits)
    assert torch.equal(keep_min_p(logits, p), theirs)


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_repetition_penalty(logits, ids, penalty):
    theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
    assert torch.equal(penalize_repetition(logits, seen(ids), penalty), theirs)


def test_all_in_their_order(logits, ids):
    bias = {3: 2.0, 50: -4.5, 199: 0.25}
    processors = transformers.LogitsProcessorList(
        [
            transformers.SequenceBiasLogitsProcessor(
                [[[key], value] for key, value in bias.items()]
            ),
            transformers.RepetitionPenaltyLogitsProcessor(1.3),
            transformers.TemperatureLogitsWarper(0.7),
            transformers.TopKLogitsWarper(40),
            transformers.TopPLogitsWarper(0.95),
            transformers.MinPLogitsWarper(0.02),
        ]
    )
    config = SampleConfig(
        temperature=0.7,
        top_k=40,
        top_p=0.95,
        min_p=0.02,
        repetition_penalty=1.3,
        logit_bias=bias,
    )
    ours = Sampler(config, ids.tolist(), range(B), vocab_size=V).probabilities(logits)
    torch.testing.assert_close(ours, processors(ids, logits).softmax(-1))
