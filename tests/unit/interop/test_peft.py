"""Adapter files: what comes back is what was written, and what does not fit is refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm.config import LoraConfig, ModelConfig
from minillm.interop import load_peft, write_peft
from minillm.model import Transformer
from minillm.model.lora import add_adapter

SHAPE = {"vocab_size": 61, "context_length": 16, "d_model": 16, "n_layers": 2, "n_heads": 2}
EXPERTS = {"qk_norm": True, "n_experts": 3, "n_experts_per_token": 2, "tie_embeddings": False}
IDS = torch.arange(24).view(2, 12)


@pytest.fixture
def written(tmp_path):
    def write(*, targets=("all-linear",), kind="lora", **shape):
        torch.manual_seed(0)
        model = Transformer(ModelConfig(**{**SHAPE, **shape})).eval()
        config = LoraConfig(rank=2, kind=kind, targets=targets)
        add_adapter(model, "default", config)
        learned = {name: p for name, p in model.named_parameters() if ".adapters." in name}
        for parameter in learned.values():
            torch.nn.init.normal_(parameter, std=0.3)
        learned = {name: p.detach() for name, p in learned.items()}
        write_peft(tmp_path / "peft", model.config, config, learned, "runs/a")
        return model, tmp_path / "peft"

    return write


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_of_experts_comes_back_as_it_was(written, kind):
    model, folder = written(kind=kind, targets=("all-linear", "lm_head", "embed_tokens"), **EXPERTS)
    names = load_file(folder / "adapter_model.safetensors")
    assert "base_model.model.model.layers.1.mlp.experts.2.up_proj.lora_B.weight" in names
    before = model(IDS)
    load_peft(folder, model, "again")
    torch.testing.assert_close(model(IDS), before, rtol=1e-5, atol=1e-5)


def test_a_part_of_a_joined_matrix_is_refused(written):
    with pytest.raises(ValueError, match=r"`transformer\.h\.0\.attn\.c_attn` is one to PEFT"):
        written(
            targets=("v_proj",),
            norm="layernorm",
            position="learned",
            ffn="gelu",
            attention_bias=True,
            ffn_bias=True,
        )


def test_the_adapter_of_a_tied_embedding_is_refused(written):
    with pytest.raises(ValueError, match="an adapter of a tied embedding"):
        written(targets=("embed_tokens",))


def test_an_adapter_for_a_layer_that_does_not_exist_names_the_nearest(written):
    model, folder = written()
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if "layers.1.mlp.up_proj" in name]:
        tensors[name.replace("layers.1", "layers.9")] = tensors.pop(name)
    save_file(tensors, file)
    message = r"`model\.layers\.9\.mlp\.up_proj\.lora_A.*does not have\n.*`model\.layers\.\d\.mlp"
    with pytest.raises(ValueError, match=message):
        load_peft(folder, model, "other")


def test_half_an_adapter_is_refused(written):
    model, folder = written()
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    del tensors["base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"]
    save_file(tensors, file)
    with pytest.raises(ValueError, match=r"lacks a factor of `model\.layers\.1\.mlp\.up_proj`"):
        load_peft(folder, model, "other")


def test_an_adapter_of_another_width_is_refused(written):
    _, folder = written()
    other = Transformer(ModelConfig(**{**SHAPE, "d_model": 8}))
    with pytest.raises(ValueError, match=r"`layers\.0\.attention\.q_proj` does not fit"):
        load_peft(folder, other, "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": ...}, "holds no adapter that can be read: 'r'"),
        ({"r": "many"}, "holds no adapter that can be read"),
        ({"modules_to_save": ["lm_head"]}, "`modules_to_save` is set"),
    ],
)
def test_odd_settings_are_refused(written, changes, message):
    model, folder = written()
    keys = {**json.loads((folder / "adapter_config.json").read_text()), **changes}
    kept = {key: value for key, value in keys.items() if value is not ...}
    (folder / "adapter_config.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match=message):
        load_peft(folder, model, "other")


def test_damaged_files_are_refused(written):
    model, folder = written()
    (folder / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no adapter that can be read"):
        load_peft(folder, model, "other")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match="holds no adapter that can be read"):
        load_peft(folder, model, "other")
