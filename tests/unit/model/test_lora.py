"""Adapters: they start as nothing, only they learn, and merging can be undone to the last bit."""

import pytest
import torch

from minillm.config import LoraConfig, ModelConfig
from minillm.model import Transformer
from minillm.model.lora import (
    adapter_names,
    adapter_parameters,
    add_adapter,
    merge_adapter,
    unmerge_adapter,
    use_adapter,
)

KINDS = ["lora", "rslora", "dora"]
IDS = torch.arange(24).view(2, 12) % 61


def small(**options):
    shape = {"vocab_size": 61, "context_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 4}
    return Transformer(ModelConfig(**{**shape, **options})).eval()


def trained(model, name="one"):
    """Moves an adapter off its start, as training would."""
    for parameter in adapter_parameters(model, name).values():
        torch.nn.init.normal_(parameter, std=0.2)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
def test_adapted_model_starts_as_the_model_it_adapts(kind):
    model = small()
    before = model(IDS)
    add_adapter(model, "one", LoraConfig(rank=4, kind=kind))
    torch.testing.assert_close(model(IDS), before, rtol=0, atol=1e-6 if kind == "dora" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapter_receives_gradients(kind):
    model = small()
    add_adapter(model, "one", LoraConfig(rank=4, kind=kind))
    trained(model)
    model(IDS, targets=IDS).backward()
    learned = {id(parameter) for parameter in adapter_parameters(model, "one").values()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in learned), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "targets", [("all-linear",), ("q_proj", "layers.1.ffn.up_proj", "lm_head")]
)
def test_merged_weights_compute_what_the_adapter_does(kind, targets):
    model = small(tie_embeddings=False)
    add_adapter(model, "one", LoraConfig(rank=4, kind=kind, targets=targets))
    trained(model)
    before = model(IDS)
    merge_adapter(model)
    torch.testing.assert_close(model(IDS), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapted_embedding_merges_as_it_computes(tied):
    model = small(tie_embeddings=tied)
    add_adapter(model, "one", LoraConfig(rank=4, targets=("embed_tokens",)))
    trained(model)
    before = model(IDS)
    merge_adapter(model)
    torch.testing.assert_close(model(IDS), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_unmerging_restores_every_bit_and_merging_twice_is_merging_once(kind):
    model = small()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    add_adapter(model, "one", LoraConfig(rank=4, kind=kind))
    trained(model)
    merge_adapter(model)
    once = model(IDS)
    merge_adapter(model)
    assert torch.equal(model(IDS), once)
    unmerge_adapter(model)
    for name, weight in before.items():
        assert torch.equal(model.get_parameter(name), weight), name


def test_adapters_lie_side_by_side_and_are_switched():
    model = small()
    plain = model(IDS)
    add_adapter(model, "one", LoraConfig(rank=4))
    trained(model, "one")
    one = model(IDS)
    add_adapter(model, "two", LoraConfig(rank=2, targets=("v_proj",)))
    trained(model, "two")
    two = model(IDS)
    assert adapter_names(model) == ["one", "two"]
    use_adapter(model, "one")
    assert torch.equal(model(IDS), one)
    use_adapter(model, "two")
    assert torch.equal(model(IDS), two)
    use_adapter(model, None)
    assert torch.equal(model(IDS), plain)


def test_rank_stabilized_scale_is_alpha_over_the_root_of_the_rank():
    assert LoraConfig(rank=16, alpha=32.0).scale == 2
    assert LoraConfig(rank=16, alpha=32.0, kind="rslora").scale == 8


def test_a_target_that_fits_no_layer_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no `q_porj`.*\nhint: did you mean `q_proj`"):
        add_adapter(small(), "one", LoraConfig(targets=("q_porj",)))


def test_an_adapter_for_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"no `layers\.7\.attention\.q_proj`"):
        add_adapter(small(), "one", LoraConfig(targets=("layers.7.attention.q_proj",)))


def test_a_name_that_is_taken_or_unusable_is_refused():
    model = small()
    add_adapter(model, "one", LoraConfig())
    with pytest.raises(ValueError, match="has an adapter `one` already"):
        add_adapter(model, "one", LoraConfig())
    with pytest.raises(ValueError, match=r"adapter name 'a\.b'"):
        add_adapter(model, "a.b", LoraConfig())


def test_an_unknown_adapter_is_refused():
    model = small()
    add_adapter(model, "one", LoraConfig())
    with pytest.raises(ValueError, match="no adapter `onee`\nhint: did you mean `one`"):
        use_adapter(model, "onee")


def test_a_merged_adapter_is_not_switched_away_unnoticed():
    model = small()
    add_adapter(model, "one", LoraConfig())
    merge_adapter(model)
    with pytest.raises(ValueError, match="`one` is merged: unmerge it first"):
        use_adapter(model, None)


def test_dora_of_an_embedding_is_refused_by_the_configuration():
    with pytest.raises(ValueError, match=r"lora\.kind \(dora\) does not go with embed_tokens"):
        LoraConfig(kind="dora", targets=("embed_tokens",))
