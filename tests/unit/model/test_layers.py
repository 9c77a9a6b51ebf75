import pytest
import torch
from torch import nn

from minillm.config import ModelConfig
from minillm.model import Embedding, FeedForward, LayerNorm, Linear, RMSNorm
from textbook import model as textbook


def filled(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def test_linear_is_torchs_linear():
    ours, theirs = filled(Linear(3, 5, bias=True)), nn.Linear(3, 5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 3)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("rows", [(1,), (2, 1), (3, 40)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_of_inference_mode_is_that_of_training(rows, bias):
    linear, x = filled(Linear(33, 70, bias=bias)), torch.randn(*rows, 33)
    with torch.inference_mode():
        fast = linear(x)
    # Rounding of sums of 33 products of size 1.
    torch.testing.assert_close(fast, linear(x).detach(), rtol=0, atol=1e-5)


def test_linear_of_inference_mode_keeps_bfloat16():
    linear = Linear(8, 8).bfloat16()
    with torch.inference_mode():
        assert linear(torch.ones(1, 8).bfloat16()).dtype == torch.bfloat16


def test_linear_has_no_bias_unless_asked():
    assert list(Linear(3, 5).state_dict()) == ["weight"]


def test_embedding_is_torchs_embedding():
    ours, theirs = filled(Embedding(7, 4)), nn.Embedding(7, 4)
    theirs.load_state_dict(ours.state_dict())
    ids = torch.randint(7, (2, 3))
    assert torch.equal(ours(ids), theirs(ids))


def test_norm_modules_are_their_formulas():
    x = torch.randn(2, 3, 8)
    rms, layer = filled(RMSNorm(8, eps=1e-3)), filled(LayerNorm(8, eps=1e-3))
    torch.testing.assert_close(rms(x), textbook.rms_norm(x, rms.weight, 1e-3))
    expected = textbook.layer_norm(x, layer.weight, layer.bias, 1e-3)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("norm", [RMSNorm, LayerNorm])
def test_norm_keeps_the_dtype_of_its_input(norm):
    assert filled(norm(8, eps=1e-5))(torch.ones(1, 8).bfloat16()).dtype == torch.bfloat16


def feed_forward(name: str, **fields) -> FeedForward:
    return FeedForward(ModelConfig(d_model=8, ffn=name, **fields), 16)


@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_layers_are_their_formulas(bias):
    x = torch.randn(2, 3, 8)
    for name in ("gelu", "relu2"):
        ffn = filled(feed_forward(name, ffn_bias=bias))
        expected = ffn.down_proj(getattr(textbook, name)(ffn.up_proj(x)))
        torch.testing.assert_close(ffn(x), expected)
    ffn = filled(feed_forward("swiglu"))
    weights = (ffn.gate_proj.weight, ffn.up_proj.weight, ffn.down_proj.weight)
    torch.testing.assert_close(ffn(x), textbook.swiglu(x, *weights))


def test_layers_outside_of_a_model_are_ready_for_use():
    x = torch.randn(2, 8)
    for name in ("swiglu", "gelu"):
        layer = feed_forward(name, ffn_bias=True)
        assert layer(x).isfinite().all()
        assert layer(x).abs().max() > 0
        assert not layer.up_proj.bias.any()
    for norm in (RMSNorm(8, eps=1e-5), LayerNorm(8, eps=1e-5)):
        assert torch.equal(norm.weight, torch.ones(8))
