"""What a model is said to be and to cost, against the model itself and PyTorch's own counter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from minillm.config import ModelConfig, list_presets, load_config
from minillm.model import Embedding, Transformer, flops_per_token, model_size

PRESET_SIZES = {
    "1m": 1.12e6,
    "nano": 4.7e6,
    "tiny": 11.4e6,
    "tinystories-17m": 22.7e6,
    "35m": 36e6,
    "small": 110e6,
    "gpt2": 124e6,
    "220m": 219e6,
    "350m": 337e6,
    "500m": 517e6,
    "1b": 1.04e9,
}


@st.composite
def shapes(draw):
    n_kv_heads, d_head = draw(st.sampled_from([1, 2])), 2 * draw(st.integers(1, 4))
    is_latent, n_layers = draw(st.booleans()), draw(st.integers(1, 3))
    has_experts = draw(st.booleans())
    n_heads = n_kv_heads * (1 if is_latent else draw(st.integers(1, 3)))
    return ModelConfig(
        attention="mla" if is_latent else "gqa",
        d_latent_q=draw(st.sampled_from([0, 3])) if is_latent else 0,
        vocab_size=draw(st.integers(1, 40)),
        context_length=draw(st.integers(1, 9)),
        n_layers=n_layers,
        d_model=draw(st.integers(1, 12)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_head=d_head,
        d_ff=draw(st.integers(1, 20)),
        ffn=draw(st.sampled_from(["swiglu", "gelu", "relu2"])),
        norm=draw(st.sampled_from(["rmsnorm", "layernorm"])),
        position=draw(st.sampled_from(["rope", "nope", "learned"])),
        qk_norm=not is_latent and draw(st.booleans()),
        attention_bias=draw(st.booleans()),
        ffn_bias=not has_experts and draw(st.booleans()),
        n_experts=draw(st.integers(2, 4)) if has_experts else 0,
        n_experts_per_token=draw(st.integers(1, 2)),
        n_shared_experts=draw(st.integers(0, 2)),
        n_dense_layers=draw(st.integers(0, n_layers - 1)),
        d_expert=5,
        value_embeddings=not is_latent and draw(st.booleans()),
        x0_skip=draw(st.booleans()),
        embedding_norm=draw(st.booleans()),
        norm_scale=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
    )


@given(shapes())
@settings(max_examples=30, deadline=None)
def test_parameters_are_those_of_the_built_model(config):
    model = Transformer(config)
    size = model_size(config)
    assert size.total == sum(p.numel() for p in model.parameters())
    tables = [part.weight.numel() for part in model.modules() if isinstance(part, Embedding)]
    assert size.embedding == sum(tables)
    idle = (config.n_experts - config.n_experts_per_token) if config.n_experts else 0
    of_one_expert = (3 if config.ffn == "swiglu" else 2) * 5 * config.d_model
    layers = config.n_layers - config.n_dense_layers
    assert size.total - size.active == layers * idle * of_one_expert


@given(shapes(), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_flops_are_those_that_pytorch_counts(config, batch_size):
    # Written-out attention is made of products that PyTorch's counter sees, and so are experts in
    # float64, which the grouped kernel does not take.
    model = Transformer(config.model_copy(update={"attention_backend": "reference"})).double()
    ids = torch.zeros(batch_size, config.context_length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(ids, targets=ids).backward()
    counted = counter.get_total_flops()
    assert flops_per_token(config) * ids.numel() == counted


@pytest.mark.parametrize("preset", list_presets("model"))
def test_every_preset_has_the_parameters_of_its_name(preset):
    size = model_size(load_config(model=preset).model)
    assert size.total == pytest.approx(PRESET_SIZES[preset], rel=0.01)
    named = {"m": 1e6, "b": 1e9}.get(preset[-1])
    if named and preset[0].isdigit():
        assert size.total == pytest.approx(float(preset[:-1]) * named, rel=0.15)


def test_experts_cost_as_much_as_the_dense_layer_they_replace():
    dense = ModelConfig(d_ff=768)
    sparse = ModelConfig(d_ff=768, n_experts=16, n_experts_per_token=3, n_shared_experts=1)
    routers = 4 * 16 * 256
    assert model_size(sparse).active == model_size(dense).total + routers
    assert flops_per_token(sparse) == flops_per_token(dense) + 6 * routers


def test_gpt2_preset_has_the_published_number_of_parameters():
    assert model_size(load_config(model="gpt2").model).total == 124_439_808


def test_the_tinystories_model_multiplies_by_17_million():
    assert model_size(load_config(model="tinystories-17m").model).multiplied == 17_571_840


def test_flops_of_gpt2_equal_nanogpts_formula():
    # 6 * (124,439,808 - 1024 * 768 positions - biases and norms) + 12 * 12 * 768 * 1024.
    assert flops_per_token(load_config(model="gpt2").model) == 854_438_400


def test_a_window_bounds_what_attention_costs():
    windowed = load_config(model="tiny", overrides={"model.windows": "[50, 0]"}).model
    full = load_config(model="tiny").model
    # Two of four layers look back at 50 positions instead of 100.
    difference = flops_per_token(full, 100) - flops_per_token(windowed, 100)
    assert difference == 2 * 12 * 256 * 50


def test_attention_flops_grow_with_the_sequence():
    model = load_config(model="tiny").model
    difference = flops_per_token(model, 200) - flops_per_token(model, 100)
    assert difference == 12 * 4 * 256 * 100
