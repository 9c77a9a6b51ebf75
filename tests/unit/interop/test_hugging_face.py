"""Folders that are not what they seem."""

import json
import pickle
import struct

import jinja2
import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm.config import SampleConfig
from minillm.interop import is_hugging_face, read_hugging_face, write_hugging_face


@pytest.fixture
def export(make_parts, tmp_path):
    """Writes an export into `tmp_path / "hf"`; one with its settings changed is written there."""

    def write(folder="hf", *, dtype=torch.float32, max_shard_bytes=10**9, **fields):
        parts = make_parts(**fields)
        write_hugging_face(
            tmp_path / folder,
            parts,
            dtype=dtype,
            max_shard_bytes=max_shard_bytes,
            source="random weights",
        )
        return tmp_path / folder

    return write


@pytest.fixture
def folder(export):
    return export()


def change_json(path, **changes):
    content = json.loads(path.read_text())
    for key, value in changes.items():
        if value is ...:
            del content[key]
        else:
            content[key] = value
    path.write_text(json.dumps(content))


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def message_of(folder):
    with pytest.raises(ValueError) as caught:
        read_hugging_face(folder)
    notes = getattr(caught.value, "__notes__", [])
    return "\n".join([str(caught.value).replace(str(folder), "hf"), *notes])


# --- config.json --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_refused(folder, name):
    change_json(folder / name, auto_map={"AutoModelForCausalLM": "modeling_x.XForCausalLM"})
    assert message_of(folder) == (
        f"`hf/{name}`: `auto_map` asks for code that came with the model, and no such code is run"
        " here"
    )


@pytest.mark.parametrize("value", ["mamba", None, 7, ["llama"]])
def test_unknown_architecture_is_named(folder, value):
    change_json(folder / "config.json", model_type=value)
    assert f"`model_type` is {value!r}, expected one of llama, qwen3" in message_of(folder)


def test_key_that_may_change_the_computation_is_named(folder):
    change_json(folder / "config.json", logit_scale=8, quantization_config={})
    assert message_of(folder) == (
        "`hf/config.json`: unknown key `logit_scale`, `quantization_config`: what it changes in the"
        " model is not known here"
    )


def test_key_that_changes_nothing_is_let_through(folder):
    change_json(folder / "config.json", transformers_version="9", id2label={}, use_cache=False)
    assert read_hugging_face(folder).model.n_layers == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "`hidden_act` is 'gelu', a llama model here has 'silu'"),
        ({"pretraining_tp": 2}, "`pretraining_tp` is 2, a llama model here has 1"),
        ({"hidden_size": ...}, "`hf/config.json` lacks `hidden_size`"),
        ({"hidden_size": None}, "`hf/config.json` lacks `hidden_size`"),
        ({"hidden_size": "32"}, "`d_model` (`hidden_size` in `hf/config.json`) is '32'"),
        ({"hidden_size": True}, "`d_model` (`hidden_size` in `hf/config.json`) is True"),
        ({"num_hidden_layers": -1}, "is -1, expected more than 0"),
        ({"num_key_value_heads": 3}, "n_heads (4) must be a multiple of n_kv_heads (3)"),
        ({"rms_norm_eps": float("nan")}, "is nan, expected a finite number"),
        (
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            "`rope_type` is 'dynamic', expected default, linear, yarn or llama3 (dynamic NTK",
        ),
        ({"rope_scaling": "yarn"}, "`rope_parameters` is 'yarn', expected an object"),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.5}},
            "RoPE's `partial_rotary_factor` is 0.5",
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": 1.5}},
            "RoPE's `attent",
        ),
        ({"rope_scaling": {"type": "linear"}}, "`rope_scaling_factor` in `hf/config.json` is None"),
    ],
)
def test_key_that_is_wrong_is_named(folder, changes, message):
    change_json(folder / "config.json", **changes)
    assert message in message_of(folder)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 1_000_000, b'"config"', b"null"]
)
def test_configuration_that_is_no_object_is_named(folder, content):
    (folder / "config.json").write_bytes(content)
    assert message_of(folder).startswith("`hf/config.json` is damaged: not ")


def test_giant_configuration_is_not_read(folder):
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 40)  # of zeros, which take no room
    assert message_of(folder) == "`hf/config.json` has 1099511627776 bytes: not read"


def test_old_and_new_names_of_rope_mean_the_same(folder):
    change_json(folder / "config.json", rope_theta=777.0)
    old = read_hugging_face(folder).model
    change_json(
        folder / "config.json",
        rope_theta=...,
        rope_parameters={"rope_type": "default", "rope_theta": 777.0},
    )
    assert read_hugging_face(folder).model == old
    assert old.rope_theta == 777.0


@pytest.mark.parametrize(("key", "huge"), [("hidden_size", 10**9), ("vocab_size", 2**62)])
def test_sizes_that_the_weights_do_not_have_are_refused_at_once(folder, key, huge):
    change_json(folder / "config.json", **{key: huge})
    said = message_of(folder)
    assert said.startswith("`hf`: its config.json describes ")
    assert said.endswith(" parameters or more, its weights hold 29,600")


def test_layers_that_the_weights_do_not_have_are_refused_at_once(folder):
    change_json(folder / "config.json", num_hidden_layers=10**12)
    assert message_of(folder) == (
        "`hf`: its config.json describes 1,000,000,000,000 layers, its weights are 20 tensors"
    )


# --- weights ------------------------------------------------------------------------------------


def test_missing_tensors_are_named(folder):
    def remove(tensors):
        for name in [name for name in tensors if name.startswith("model.layers.1.")]:
            del tensors[name]

    change_weights(folder, remove)
    assert message_of(folder) == (
        "`hf` lacks `model.layers.1.input_layernorm.weight`,"
        " `model.layers.1.post_attention_layernorm.weight`,"
        " `model.layers.1.self_attn.q_proj.weight` and 6 more"
    )


def test_extra_tensors_are_named(folder):
    change_weights(folder, lambda tensors: tensors.update({"score.weight": torch.zeros(2, 32)}))
    assert message_of(folder) == (
        "`hf` holds, and a model of its config.json does not have, `score.weight`"
    )


def test_wrong_shape_is_named(folder):
    name = "model.layers.0.mlp.up_proj.weight"
    change_weights(folder, lambda tensors: tensors.update({name: torch.zeros(32, 64)}))
    assert message_of(folder) == (
        f"`hf`: `{name}` is [32, 64], by its config.json it should be [64, 32]"
    )


def test_wrong_shape_of_a_joined_tensor_is_named(export):
    gpt2 = {"norm": "layernorm", "position": "learned", "ffn": "gelu"}
    folder = export(**gpt2, attention_bias=True, ffn_bias=True)
    name = "transformer.h.0.attn.c_attn.weight"
    change_weights(folder, lambda tensors: tensors.update({name: torch.zeros(96, 32)}))
    assert message_of(folder).endswith(
        f"`{name}` is [96, 32], by its config.json it should be [32, 96]"
    )


@pytest.mark.parametrize("dtype", [torch.int8, torch.float64, torch.float8_e4m3fn])
def test_weights_of_another_type_are_named(folder, dtype):
    change_weights(
        folder, lambda tensors: tensors.update({"model.norm.weight": torch.zeros(32).to(dtype)})
    )
    assert message_of(folder) == (
        f"`hf`: `model.norm.weight` is {dtype}, expected float32, float16 or bfloat16"
    )


def test_tied_head_that_is_stored_all_the_same_must_be_the_embedding(folder):
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    change_weights(folder, lambda tensors: tensors.update({"lm_head.weight": embedding.clone()}))
    assert "lm_head.weight" not in read_hugging_face(folder).tensors
    change_weights(folder, lambda tensors: tensors.update({"lm_head.weight": embedding + 1}))
    assert message_of(folder) == (
        "`hf`: `lm_head.weight` is not `model.embed_tokens.weight`, although tie_word_embeddings"
        " says so"
    )


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused_with_the_way_out(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    assert message_of(folder) == (
        f"`hf/{name}` is a pickle, which can run code when it is opened: not read\n"
        "if you trust it, let its library write safetensors:"
        " AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
    )


def test_pickles_beside_safetensors_are_left_alone(folder):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert read_hugging_face(folder).model.n_layers == 2


def test_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert message_of(folder) == "`hf` holds no weights: there is no model.safetensors"


def test_file_cut_short_is_named(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1])
    assert message_of(folder).startswith("`hf/model.safetensors` is damaged: ")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
    ],
)
def test_header_that_lies_about_sizes_is_refused(folder, entry):
    header = json.dumps({"model.norm.weight": entry}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(16)
    (folder / "model.safetensors").write_bytes(content)
    assert message_of(folder).startswith("`hf/model.safetensors` is damaged: ")


@pytest.fixture
def sharded(export):
    return export("hf", max_shard_bytes=20_000)


def test_missing_file_of_many_is_named(sharded):
    (sharded / "model-00002-of-00006.safetensors").unlink()
    assert message_of(sharded) == (
        "`hf/model-00002-of-00006.safetensors` is missing, model.safetensors.index.json names it"
    )


@pytest.mark.parametrize("name", ["../a.safetensors", "/a.safetensors", "a.bin", 7, []])
def test_index_may_name_nothing_but_files_beside_it(sharded, name):
    change_json(sharded / "model.safetensors.index.json", weight_map={"model.norm.weight": name})
    assert message_of(sharded) == (
        f"`hf/model.safetensors.index.json` names {name!r}, expected a .safetensors file"
    )


@pytest.mark.parametrize("weight_map", [..., {}, [], "x"])
def test_index_without_a_map(sharded, weight_map):
    change_json(sharded / "model.safetensors.index.json", weight_map=weight_map)
    assert message_of(sharded) == "`hf/model.safetensors.index.json` has no `weight_map`"


def test_tensor_in_two_files_is_named(sharded):
    first = load_file(sharded / "model-00001-of-00006.safetensors")
    save_file(first, sharded / "model-00002-of-00006.safetensors")
    assert message_of(sharded) == (
        "`hf/model-00002-of-00006.safetensors` holds `model.embed_tokens.weight`, another of its"
        " files too"
    )


# --- tokenizer and settings ---------------------------------------------------------------------


def test_tokenizer_with_more_ids_than_the_model_is_refused(export, letters_tokenizer):
    folder = export()
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 280, "content": "<x>"})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert message_of(folder) == ("`hf/tokenizer.json` has 281 ids, the model's vocab_size is 280")


def test_normalizer_is_left_out_with_a_warning(folder):
    change_json(folder / "tokenizer.json", normalizer={"type": "NFC"})
    with pytest.warns(UserWarning, match="changes text before it encodes it"):
        assert read_hugging_face(folder).tokenizer.vocab_size == 280


def test_tokenizer_of_another_kind_is_refused(folder):
    change_json(folder / "tokenizer.json", model={"type": "Unigram", "vocab": []})
    assert "hf/tokenizer.json" in message_of(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_sample": True, "top_p": 7}, "`top_p` in `{}` is 7, expected at most 1"),
        ({"do_sample": True, "temperature": "hot"}, "`temperature` in `{}` is 'hot', expected a"),
        ({"eos_token_id": [3, -1]}, "`stop_ids[1]` in `{}` is -1, expected at least 0"),
        ({"eos_token_id": {"id": 3}}, "`stop_ids[0]` in `{}` is {'id': 3}, expected an integer"),
        ({"max_new_tokens": True}, "`max_new_tokens` in `{}` is True, expected an integer"),
    ],
)
def test_sampling_settings_that_cannot_be_are_refused(folder, changes, message):
    change_json(folder / "generation_config.json", **changes)
    assert message_of(folder).startswith(message.replace("{}", "hf/generation_config.json"))


@pytest.mark.parametrize(
    ("ends", "expected"), [(3, (3,)), ([7, 279, 3], (7, 3)), (279, ()), (None, ()), ([], ())]
)
def test_tokens_that_end_a_text_come_in(folder, ends, expected):
    change_json(folder / "generation_config.json", eos_token_id=ends)
    change_json(folder / "config.json", eos_token_id=None)
    assert read_hugging_face(folder).sample.stop_ids == expected
    change_json(folder / "generation_config.json", eos_token_id=None)
    change_json(folder / "config.json", eos_token_id=ends)
    assert read_hugging_face(folder).sample.stop_ids == expected


BEGIN = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<b>", "type_id": 0}}]}
BYTES = {"type": "ByteLevel", "trim_offsets": True}


@pytest.mark.parametrize(
    ("processor", "settings", "bos_id", "expected"),
    [
        (BEGIN, {}, 5, "<b>"),
        ({"type": "Sequence", "processors": [BYTES, BEGIN]}, {}, None, "<b>"),
        (BYTES, {"add_bos_token": True, "bos_token": {"content": "<b>"}}, None, "<b>"),
        (BYTES, {"add_bos_token": False, "bos_token": "<b>"}, 5, 5),
        (None, {}, None, "<e>"),  # anything to begin from
        ([], {}, 5, 5),
        ({"type": "TemplateProcessing", "single": "x"}, {}, 5, 5),
    ],
)
def test_what_begins_a_text_comes_in(make_foreign, tmp_path, processor, settings, bos_id, expected):
    parts = make_foreign("<b>", "<e>")
    ids, folder = parts.tokenizer.special_tokens, tmp_path / "hf"
    write_hugging_face(folder, parts, dtype=torch.float32, max_shard_bytes=10**9, source="x")
    change_json(folder / "tokenizer.json", post_processor=processor)
    change_json(folder / "tokenizer_config.json", **settings)
    change_json(folder / "generation_config.json", bos_token_id=bos_id, eos_token_id=[ids["<e>"]])
    assert read_hugging_face(folder).sample.bos_id == ids.get(expected, expected)


def test_the_end_of_text_begins_one_where_nothing_else_does(folder):
    change_json(folder / "tokenizer.json", post_processor=None)
    change_json(folder / "generation_config.json", bos_token_id=5)
    assert read_hugging_face(folder).sample.bos_id is None


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.0, "max_new_tokens": 20, "repetition_penalty": 1.5},
        {"temperature": 0.7, "top_k": 9, "top_p": 0.5, "min_p": 0.1, "max_new_tokens": 20},
        {"stop_ids": (3, 272), "bos_id": 271},
    ],
)
def test_sampling_settings_come_back_as_they_went(make_foreign, tmp_path, changes):
    parts = make_foreign("<|endoftext|>", "<b>", "<e>")
    parts = parts._replace(sample=SampleConfig(**{"temperature": 0.0, **changes}))
    options = {"dtype": torch.float32, "max_shard_bytes": 10**9, "source": "x"}
    write_hugging_face(tmp_path / "hf", parts, **options)
    assert read_hugging_face(tmp_path / "hf").sample == parts.sample


def test_how_to_draw_is_ours_where_they_do_not_say(folder):
    (folder / "generation_config.json").write_text('{"temperature": 0.3, "top_k": 5}')
    assert read_hugging_face(folder).sample == SampleConfig()


def test_a_folder_with_a_run_in_it_is_a_run(folder):
    assert is_hugging_face(folder)
    (folder / "config.yaml").touch()
    assert not is_hugging_face(folder)


def test_a_template_that_fails_hinders_no_export(make_parts, tmp_path):
    parts = make_parts()._replace(chat_template="{{ nothing.at.all }}")
    options = {"dtype": torch.float32, "max_shard_bytes": 10**9, "source": "x"}
    with pytest.warns(UserWarning, match="what ends a turn is not known: the chat template fails"):
        write_hugging_face(tmp_path / "hf", parts, **options)
    keys = json.loads((tmp_path / "hf/generation_config.json").read_text())
    assert keys["eos_token_id"] == parts.tokenizer.eot_id


# --- writing ------------------------------------------------------------------------------------


def test_value_beyond_float16_is_named(make_parts, tmp_path):
    parts = make_parts()
    tensors = {**parts.tensors, "norm.weight": torch.full((32,), 1e5)}
    with pytest.raises(ValueError, match="beyond the range") as caught:
        write_hugging_face(
            tmp_path / "hf",
            parts._replace(tensors=tensors),
            dtype=torch.float16,
            max_shard_bytes=10**9,
            source="x",
        )
    assert caught.value.__notes__ == ["take bfloat16, whose range is that of float32"]
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_nothing(make_parts, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("minillm.interop.hugging_face.write_file", fail)
    with pytest.raises(OSError, match="disk full"):
        write_hugging_face(
            tmp_path / "hf", make_parts(), dtype=torch.float32, max_shard_bytes=1, source="x"
        )
    assert list(tmp_path.iterdir()) == []


def test_export_that_does_not_read_back_gets_no_name(make_parts, tmp_path, monkeypatch):
    def flip(path, tensors, *, metadata):
        save_file({name: tensor + 1 for name, tensor in tensors.items()}, path, metadata)

    monkeypatch.setattr("minillm.interop.hugging_face.write_tensors", flip)
    with pytest.raises(OSError, match="does not read back"):
        write_hugging_face(
            tmp_path / "hf", make_parts(), dtype=torch.float32, max_shard_bytes=10**9, source="x"
        )
    assert list(tmp_path.iterdir()) == []


def test_of_chat_templates_by_name_the_default_is_taken(folder):
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    change_json(folder / "tokenizer_config.json", chat_template=named)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert read_hugging_face(folder).chat_template == "d"
    change_json(folder / "tokenizer_config.json", chat_template=named[:1])
    with pytest.raises(ValueError, match=r"no chat template is `default`, only \['tool_use'\]"):
        read_hugging_face(folder)


def test_a_chat_template_that_is_no_text_is_named(folder):
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"chat_template\.jinja`: 'utf-8' codec"):
        read_hugging_face(folder)


def test_a_chat_template_keeps_the_tokens_that_its_settings_name(folder):
    source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    tokens = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>"}
    change_json(folder / "tokenizer_config.json", chat_template=source, **tokens)
    template = read_hugging_face(folder).chat_template
    assert template.endswith(source)
    rendered = jinja2.Template(template).render(messages=[{"content": "a"}])
    assert rendered == "<s>a</s>"
    change_json(folder / "tokenizer_config.json", chat_template=template)
    assert read_hugging_face(folder).chat_template == template
