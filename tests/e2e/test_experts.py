"""Mixture of experts from the command's point of view: training, metrics, generation."""

import math

import pytest
import torch

from minillm.checkpoint import latest_checkpoint
from minillm.config import SampleConfig
from minillm.infer import Generation, load_run
from minillm.pretrain import run
from minillm.track.metrics import read_metrics

EXPERTS = {
    "model__n_experts": "4",
    "model__n_shared_experts": "1",
    "model__n_dense_layers": "1",
    "model__balance": "bias",
    "model__balance_rate": "0.01",
    "model__dropout": "0",
}

DAMAGED = r"logits is nan: weight `layers\.1\.ffn\.experts\.up_proj\.weight` is not finite"

GREEDY = SampleConfig(temperature=0.0, max_new_tokens=20)


@pytest.fixture
def trained(trained_once):
    return trained_once(**EXPERTS)


def test_metrics_tell_how_experts_are_used(trained):
    lines = [record for record in read_metrics(trained) if "loss" in record]
    assert len(lines) > 3
    for line in lines:
        assert 1 <= line["expert_load_max"] <= 2  # of 4 experts each token uses 2
        assert 0.5 <= line["expert_load_entropy"] <= 1.0001


def test_logged_loss_is_the_cross_entropy_and_penalties_stand_beside_it(make_config):
    rates = {"model__balance_rate": "100", "model__router_z_loss": "10"}
    config = make_config(**{**EXPERTS, "model__balance": "aux", **rates})
    run(config, resume=False, eval_only=False, quiet=True)
    first = next(record for record in read_metrics(config.train.out_dir) if "loss" in record)
    assert first["loss"] == pytest.approx(math.log(257), abs=0.1)
    assert first["balance_loss"] == pytest.approx(200, rel=0.1)  # each token uses 2
    assert first["router_z_loss"] == pytest.approx(10 * math.log(4) ** 2, rel=0.1)


def test_bias_moves_once_per_optimizer_step_and_is_saved(trained):
    checkpoint, _ = latest_checkpoint(trained)
    bias = checkpoint.tensors("model")["layers.1.ffn.router.bias"]
    steps = bias / 0.01
    assert bias.any()
    assert steps.abs().max() <= 20.001
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)


def test_cached_generation_equals_uncached(trained):
    loaded = load_run(trained)
    ids = list(b"Tom saw")
    cached = [new.id for new in Generation(loaded.model, [ids], GREEDY, seeds=[0], stop_ids=())]
    assert len(cached) == 20
    with torch.no_grad():
        for token in cached:
            assert loaded.model(torch.tensor([ids]))[0, -1].argmax() == token
            ids.append(token)


def test_generation_with_damaged_experts_is_refused(trained):
    model = load_run(trained).model
    model.layers[1].ffn.experts.up_proj.weight.data[:] = float("nan")
    with pytest.raises(ValueError, match=DAMAGED):
        list(Generation(model, [[1, 2, 3]], GREEDY, seeds=[0], stop_ids=()))
