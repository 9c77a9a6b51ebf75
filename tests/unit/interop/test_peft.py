"""Adapter files: what comes back is what was written, and what does not fit is refused by name."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm.config import LoraConfig, ModelConfig
from minillm.interop import lay_adapters, load_peft, write_peft
from minillm.model import Transformer
from minillm.model.lora import (
    adapter_names,
    add_adapter,
    merge_adapter,
    unmerge_adapter,
    use_adapter,
)

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
    message = r"q_proj\.lora_A\.weight` is \[2, 16\], expected \[2, 8\]"
    with pytest.raises(ValueError, match=message):
        load_peft(folder, other, "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": ...}, "`r` in `{}` is missing"),
        ({"r": "many"}, "`r` in `{}` is 'many', expected an integer"),
        ({"r": 0}, "`r` in `{}` is 0, expected more than 0"),
        ({"r": 3}, "q_proj.lora_A.weight` is [2, 16], expected [3, 16]"),
        ({"lora_alpha": -1}, "`lora_alpha` in `{}` is -1, expected more than 0"),
        ({"peft_type": "LOHA"}, "`peft_type` in `{}` is 'LOHA', expected one of LORA"),
        ({"peft_type": ...}, "`peft_type` in `{}` is missing"),
        ({"bias": "lora_only"}, "`bias` in `{}` is 'lora_only', expected one of none"),
        ({"init_lora_weights": "pissa"}, "`init_lora_weights` in `{}` is 'pissa'"),
        ({"alpha_pattern": ["q_proj"]}, "`alpha_pattern` in `{}` is ['q_proj'], expected"),
        ({"alpha_pattern": {"q_proj": "x"}}, "in `{}` is 'x', expected a number"),
        ({"alpha_pattern": {"(": 3}}, "`{}`: '(.*\\\\.)?(()$' is no regex: "),
        ({"rank_pattern": {"q_proj": 3}}, "q_proj.lora_A.weight` is [2, 16], expected [3, 16]"),
        ({"modules_to_save": ["lm_head"]}, "`{}`: `modules_to_save` is set, only"),
        ({"target_parameters": ["gate_up_proj"]}, "`{}`: `target_parameters` is set, only"),
        ({"layer_replication": [[0, 1]]}, "`{}`: `layer_replication` is set, only"),
        ({"use_qalora": True}, "`{}`: `use_qalora` is set, only"),
        ({"some_new_kind": {"a": 1}}, "`{}`: `some_new_kind` is set, only"),
    ],
)
def test_odd_settings_are_refused(written, changes, message):
    model, folder = written()
    keys = {**json.loads((folder / "adapter_config.json").read_text()), **changes}
    kept = {key: value for key, value in keys.items() if value is not ...}
    (folder / "adapter_config.json").write_text(json.dumps(kept))
    assert message.replace("{}", str(folder / "adapter_config.json")) in refusal_of(folder, model)


def refusal_of(folder, model):
    """The message; the model is as it was."""
    names = adapter_names(model)
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        load_peft(folder, model, "other")
    assert adapter_names(model) == names
    return str(caught.value)


def test_null_and_idle_settings_are_let_through(written):
    model, folder = written()
    file = folder / "adapter_config.json"
    idle = {"alpha_pattern": None, "use_qalora": False, "megatron_core": "x", "revision": "main"}
    file.write_text(json.dumps(json.loads(file.read_text()) | idle))
    load_peft(folder, model, "other")


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 2_000_000, b"\xff"])
def test_damaged_settings_are_refused(written, content):
    model, folder = written()
    (folder / "adapter_config.json").write_bytes(content)
    assert "adapter_config.json` is damaged: not " in refusal_of(folder, model)


def test_damaged_weights_are_refused(written):
    model, folder = written()
    file = folder / "adapter_model.safetensors"
    file.write_bytes(b"no")
    assert f"`{file}` is damaged: " in refusal_of(folder, model)
    file.rename(folder / "adapter_model.bin")
    assert "adapter_model.bin` is a pickle, which can run code" in refusal_of(folder, model)
    (folder / "adapter_model.bin").unlink()
    assert "holds no adapter: there is no adapter_model.safetensors" in refusal_of(folder, model)


QUERY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(2, 16, dtype=torch.int64), "is torch.int64, expected float32, float16"),
        (torch.zeros(16), "is [16], expected [2, 16]"),
        (torch.zeros(0, 16), "is [0, 16], expected [2, 16]"),
        (torch.zeros(1, 2, 16), "is [1, 2, 16], expected [2, 16]"),
    ],
)
def test_factors_of_another_kind_are_named(written, tensor, message):
    model, folder = written()
    file = folder / "adapter_model.safetensors"
    save_file({**load_file(file), QUERY: tensor}, file)
    assert message in refusal_of(folder, model)


def test_an_adapter_of_some_experts_is_refused(written):
    model, folder = written(**EXPERTS)
    file = folder / "adapter_model.safetensors"
    kept = {name: t for name, t in load_file(file).items() if "experts.2.up_proj" not in name}
    save_file(kept, file)
    name = "model.layers.0.mlp.experts.2.up_proj"
    assert f"lacks a factor of `{name}`" in refusal_of(folder, model)


def test_a_table_beside_its_adapter_must_be_the_model_s(written):
    model, folder = written(targets=("lm_head",), tie_embeddings=False)
    file, name = folder / "adapter_model.safetensors", "base_model.model.lm_head.base_layer.weight"
    own, tensors = model.lm_head.weight.detach(), load_file(file)
    save_file({**tensors, name: own.bfloat16()}, file)
    load_peft(folder, model, "same")
    save_file({**tensors, name: own + 1}, file)
    assert "adapts `lm_head.base_layer.weight`, which the model does not" in refusal_of(
        folder, model
    )


@pytest.mark.parametrize(
    "folder", ["train", "keys", "half", "type", "1peft", "a b-c", "d\u00e9j\u00e0", "default"]
)
def test_a_folder_of_any_name_is_an_adapter(written, folder):
    model, made = written()
    before = model(IDS)
    place = made.rename(made.with_name(folder))
    lay_adapters([place, place], model)
    names = adapter_names(model)
    assert len(names) == 3
    assert names[2][-1] in "23"
    merge_adapter(model)
    torch.testing.assert_close(model(IDS), before, rtol=1e-5, atol=1e-5)
    unmerge_adapter(model)
    use_adapter(model, names[1])
    torch.testing.assert_close(model(IDS), before, rtol=1e-5, atol=1e-5)
