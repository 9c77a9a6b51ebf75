"""Adapters: they start as nothing, only they learn, and merging can be undone to the last bit."""

import pytest
import torch

from minillm.config import LoraConfig, ModelConfig
from minillm.model import KVCache, Transformer
from minillm.model.lora import (
    adapter_names,
    add_adapter,
    fold_adapter,
    merge_adapter,
    unmerge_adapter,
    use_adapter,
)

KINDS = ["lora", "rslora", "dora"]
LAYOUTS = {
    "plain": {},
    "latent": {"attention": "mla", "d_latent_kv": 16, "d_head_rope": 4, "d_latent_q": 16},
    "experts": {"n_experts": 4, "n_experts_per_token": 2, "n_shared_experts": 1},
    "unaligned experts": {"n_experts": 4, "d_expert": 10, "d_model": 22, "n_heads": 1},
    "values": {"value_embeddings": True},
    "biases": {"norm": "layernorm", "position": "learned", "ffn": "gelu", "ffn_bias": True},
}
EVERYTHING = ("all-linear", "embed_tokens", "lm_head")
IDS = torch.arange(24).view(2, 12) % 61


def small(**options):
    shape = {"vocab_size": 61, "context_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 4}
    model = Transformer(ModelConfig(**{**shape, "tie_embeddings": False, **options})).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


def adapter_parameters(model, name="one"):
    return {key: p for key, p in model.named_parameters() if f".adapters.{name}." in key}


def trained(model, name="one"):
    """Moves an adapter off its start, as training would."""
    for parameter in adapter_parameters(model, name).values():
        torch.nn.init.normal_(parameter, std=0.2)


def lora(rank=4, **options):
    return LoraConfig(rank=rank, **options)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_adapted_model_starts_as_the_model_it_adapts(kind, layout):
    model = small(**layout)
    before = model(IDS)
    add_adapter(model, "one", lora(kind=kind, targets=EVERYTHING))
    torch.testing.assert_close(model(IDS), before, rtol=0, atol=1e-6 if kind == "dora" else 0)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_only_the_adapter_receives_gradients(kind, layout):
    model = small(**layout)
    add_adapter(model, "one", lora(kind=kind, targets=EVERYTHING))
    trained(model)
    model(IDS, targets=IDS).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (".adapters.one." in name), name


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_compute_what_the_adapter_does(kind, layout):
    model = small(**layout).double()
    add_adapter(model, "one", lora(kind=kind, targets=EVERYTHING))
    trained(model)
    before = model(IDS)
    merge_adapter(model)
    torch.testing.assert_close(model(IDS), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tied_head_changes_with_the_embedding(kind):
    model = small(tie_embeddings=True).double()
    plain = model(IDS)
    add_adapter(model, "one", lora(kind=kind, targets=("embed_tokens",)))
    trained(model)
    before = model(IDS)
    merge_adapter(model)
    torch.testing.assert_close(model(IDS), before, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(before, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_absorbed_decoding_sees_the_adapter_of_kv_b(kind):
    model = small(**LAYOUTS["latent"]).double()
    add_adapter(model, "one", lora(kind=kind, targets=("kv_b_proj",)))
    trained(model)
    cache = KVCache(model.config, 2, 12, dtype=torch.float64)
    with torch.no_grad():
        steps = [model(IDS[:, place : place + 1], cache=cache) for place in range(12)]
        torch.testing.assert_close(torch.cat(steps, 1), model(IDS), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", [LAYOUTS["plain"], LAYOUTS["experts"]], ids=["plain", "experts"])
@pytest.mark.parametrize("kind", KINDS)
def test_unmerging_restores_every_bit_and_merging_twice_is_merging_once(kind, layout):
    model = small(**layout)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    add_adapter(model, "one", lora(kind=kind, targets=EVERYTHING))
    trained(model)
    merge_adapter(model)
    once = model(IDS)
    merge_adapter(model)
    assert torch.equal(model(IDS), once)
    unmerge_adapter(model)
    unmerge_adapter(model)
    for name, weight in before.items():
        assert torch.equal(model.get_parameter(name), weight), name


def test_a_folded_model_is_a_plain_one_that_can_learn():
    model = small(**LAYOUTS["experts"])
    plain = {name: (type(module), module) for name, module in model.named_modules()}
    names = list(model.state_dict())
    add_adapter(model, "one", lora(targets=EVERYTHING))
    trained(model)
    merge_adapter(model)
    merged = model(IDS)
    fold_adapter(model)
    assert {name: (type(module), module) for name, module in model.named_modules()} == plain
    assert list(model.state_dict()) == names
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model(IDS), merged)


def test_adapters_lie_side_by_side_and_are_switched():
    model = small()
    plain = model(IDS)
    add_adapter(model, "one", lora())
    trained(model, "one")
    one = model(IDS)
    add_adapter(model, "two", lora(rank=2, targets=("v_proj",)))
    trained(model, "two")
    two = model(IDS)
    assert adapter_names(model) == ["one", "two"]
    use_adapter(model, "one")
    assert torch.equal(model(IDS), one)
    use_adapter(model, "two")
    assert torch.equal(model(IDS), two)
    use_adapter(model, None)
    assert torch.equal(model(IDS), plain)


def test_dropout_acts_in_training_on_the_adapter_alone():
    model = small()
    add_adapter(model, "one", lora(dropout=0.5))
    assert torch.equal(model.train()(IDS), model.eval()(IDS))  # it starts as nothing
    trained(model)
    assert not torch.allclose(model.train()(IDS), model.eval()(IDS))


def test_a_frozen_router_keeps_its_bias():
    from minillm.model import move_biases

    model = small(**LAYOUTS["experts"], balance="bias")
    add_adapter(model, "one", lora())
    model.train()(IDS)
    move_biases(model)
    assert not model.layers[0].ffn.router.bias.any()


def test_rank_stabilized_scale_is_alpha_over_the_root_of_the_rank():
    assert LoraConfig(rank=16, alpha=32.0).scale == 2
    assert LoraConfig(rank=16, alpha=32.0, kind="rslora").scale == 8


def test_dora_is_its_formula():
    model = small()
    layer = model.layers[0].attention.q_proj
    weight = layer.weight.detach().clone()
    add_adapter(model, "one", lora(kind="dora", alpha=6.0, targets=("q_proj",)))
    adapter = layer.adapters["one"]
    assert torch.equal(adapter.magnitude, weight.norm(dim=1))
    trained(model)
    x = torch.randn(3, 32)
    changed = weight + 6 / 4 * adapter.lora_B @ adapter.lora_A
    expected = x @ (adapter.magnitude[:, None] * changed / changed.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_a_target_that_fits_no_layer_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no `q_porj`.*\nhint: did you mean `q_proj`"):
        add_adapter(small(), "one", lora(targets=("q_porj",)))


def test_an_adapter_for_a_layer_that_does_not_exist_names_the_nearest():
    message = (
        r"no `layers\.7\.attention\.q_proj`.*"
        r"\nhint: did you mean `layers\.\d\.attention\.q_proj`"
    )
    with pytest.raises(ValueError, match=message):
        add_adapter(small(), "one", lora(targets=("layers.7.attention.q_proj",)))


def test_a_name_that_is_taken_or_unusable_is_refused():
    model = small()
    add_adapter(model, "one", lora())
    with pytest.raises(ValueError, match="has an adapter `one` already"):
        add_adapter(model, "one", lora())
    with pytest.raises(ValueError, match=r"adapter name 'a\.b'"):
        add_adapter(model, "a.b", lora())


def test_an_unknown_adapter_is_refused():
    model = small()
    add_adapter(model, "one", lora())
    with pytest.raises(ValueError, match="no adapter `onee`\nhint: did you mean `one`"):
        use_adapter(model, "onee")


def test_a_merged_adapter_is_not_switched_away_unnoticed():
    model = small()
    add_adapter(model, "one", lora())
    merge_adapter(model)
    with pytest.raises(ValueError, match="`one` is merged: unmerge it first"):
        use_adapter(model, None)
