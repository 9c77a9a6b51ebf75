"""Models that leave and come back, against those who receive them: `transformers` and `gguf`."""

import json

import numpy as np
import pytest
import torch

from minillm.config import SampleConfig
from minillm.data import ChatTemplate
from minillm.infer import Generation, load_run, prompt_ids, stream_texts
from minillm.interop import (
    read_hugging_face,
    read_run,
    write_gguf,
    write_hugging_face,
    write_run,
)
from minillm.interop.gguf_file import neighbouring_pairs
from minillm.model import Transformer

transformers = pytest.importorskip("transformers")

GPT2 = {
    "norm": "layernorm",
    "position": "learned",
    "ffn": "gelu",
    "attention_bias": True,
    "ffn_bias": True,
}
SHAPES = {
    "llama": {"n_kv_heads": 2, "rope_theta": 5000.0, "norm_eps": 1e-6},
    "llama, biased and untied": {
        "attention_bias": True,
        "ffn_bias": True,
        "tie_embeddings": False,
        "d_head": 16,
    },
    "qwen3": {"n_kv_heads": 1, "d_head": 16, "qk_norm": True},
    "qwen3, biased and untied": {
        "qk_norm": True,
        "attention_bias": True,
        "tie_embeddings": False,
    },
    # Made for 16 tokens; the tests read 40.
    "llama, linear": {"rope_scaling": "linear", "rope_scaling_factor": 4.0},
    "llama, llama3": {
        "rope_scaling": "llama3",
        "rope_scaling_factor": 4.0,
        "rope_llama3_ramp": (1.0, 3.0),
    },
    "qwen3, yarn": {
        "qk_norm": True,
        "rope_scaling": "yarn",
        "rope_scaling_factor": 4.0,
        "rope_yarn_ramp": (0.5, 16.0),
        "rope_theta": 5000.0,
    },
    "qwen3 moe": {
        "qk_norm": True,
        "n_kv_heads": 2,
        "n_experts": 3,
        "n_experts_per_token": 2,
        "d_expert": 24,
        "n_dense_layers": 1,
    },
    "gpt2": GPT2,
    "gpt2, another width and untied": {**GPT2, "d_ff": 48, "tie_embeddings": False},
}
PROMPT = "the cat sat on"

every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def written(parts, folder, *, dtype=torch.float32, max_shard_bytes=10**9):
    write_hugging_face(
        folder, parts, dtype=dtype, max_shard_bytes=max_shard_bytes, source="random weights"
    )
    return folder


def model_of(parts):
    model = Transformer(parts.model)
    model.load_state_dict(dict(parts.tensors))
    return model.eval()


def load_theirs(folder):
    """Their model, with nothing missing and nothing left over."""
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values()), report
    return theirs.eval()


def greedy_text(loaded, prompt):
    config = SampleConfig(temperature=0.0, max_new_tokens=24)
    ids, end = prompt_ids(loaded.tokenizer, prompt), loaded.tokenizer.eot_id
    drawn = Generation(loaded.model, [ids], config, seeds=[0], stop_ids=(end,))
    return prompt + loaded.tokenizer.decode([new.id for new in drawn if new.finish != "stop"])


@every_shape
def test_transformers_loads_the_export_and_gives_its_logits(make_parts, tmp_path, shape):
    parts = make_parts(**shape)
    theirs = load_theirs(written(parts, tmp_path / "hf"))
    ids = torch.randint(parts.model.vocab_size, (2, 40))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model_of(parts)(ids), rtol=0, atol=1e-5)


@every_shape
def test_what_transformers_saves_comes_in_with_its_logits(make_parts, tmp_path, shape):
    parts = make_parts(**shape)
    theirs = load_theirs(written(parts, tmp_path / "ours"))
    theirs.save_pretrained(tmp_path / "theirs")
    back = read_hugging_face(tmp_path / "theirs")
    ids = torch.randint(parts.model.vocab_size, (2, 40))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model_of(back)(ids), rtol=0, atol=1e-5)


@every_shape
def test_greedy_text_is_the_same_in_transformers(make_parts, tmp_path, shape):
    parts = make_parts(**shape)
    write_run(tmp_path / "run", parts)
    theirs = load_theirs(written(parts, tmp_path / "hf"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    prompt = tokenizer(PROMPT, return_tensors="pt")
    ids = theirs.generate(**prompt, do_sample=False, max_new_tokens=24)[0]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text == greedy_text(load_run(tmp_path / "run"), PROMPT)


@every_shape
def test_a_way_out_and_in_changes_no_bit(make_parts, tmp_path, shape):
    parts = make_parts(**shape)
    back = read_hugging_face(written(parts, tmp_path / "hf", max_shard_bytes=10_000))
    write_run(tmp_path / "run", back)
    again = read_run(tmp_path / "run")
    assert again.model.model_copy(update={"init_std": 0.1}) == parts.model
    assert again.tensors.keys() == parts.tensors.keys()
    assert all(torch.equal(again.tensors[name], own) for name, own in parts.tensors.items())
    assert again.tokenizer == parts.tokenizer


def test_a_checkpoint_in_many_files_is_loaded_by_transformers(make_parts, tmp_path):
    parts = make_parts(qk_norm=True)
    folder = written(parts, tmp_path / "hf", max_shard_bytes=20_000)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    ids = torch.randint(parts.model.vocab_size, (1, 20))
    with torch.no_grad():
        logits = load_theirs(folder)(ids).logits
        torch.testing.assert_close(logits, model_of(parts)(ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_are_those_of_the_run_rounded(make_parts, tmp_path, dtype):
    parts = make_parts()
    folder = written(parts, tmp_path / "hf", dtype=dtype)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert theirs.dtype == dtype
    back = read_hugging_face(folder)
    assert all(
        torch.equal(back.tensors[name], own.to(dtype)) for name, own in parts.tensors.items()
    )


def test_transformers_encodes_text_as_the_run_does(make_parts, tmp_path):
    parts = make_parts()
    tokenizer = transformers.AutoTokenizer.from_pretrained(written(parts, tmp_path / "hf"))
    text = "the  cat \n\n 1234 \u00e9t\u00e9 \U0001f600 's<|endoftext|> mat "
    ours = parts.tokenizer.encode(text, allowed_special="all")
    assert tokenizer(text)["input_ids"] == [parts.tokenizer.eot_id, *ours]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ours
    assert tokenizer.decode(ours) == text
    assert tokenizer.eos_token_id == parts.tokenizer.eot_id
    assert tokenizer.model_max_length == parts.model.context_length


def test_the_chat_template_travels(make_parts, tmp_path):
    template = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    parts = make_parts()._replace(chat_template=template)
    folder = written(parts, tmp_path / "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "the cat"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<user>the cat"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["chat_template"] == template
    write_run(tmp_path / "run", read_hugging_face(folder))
    assert read_run(tmp_path / "run").chat_template == template


def test_sampling_settings_travel(make_parts, tmp_path):
    parts = make_parts()
    parts = parts._replace(sample=parts.sample.model_copy(update={"temperature": 0.7, "top_k": 9}))
    folder = written(parts, tmp_path / "hf")
    theirs = transformers.GenerationConfig.from_pretrained(folder)
    assert (theirs.do_sample, theirs.temperature, theirs.top_k) == (True, 0.7, 9)
    assert theirs.eos_token_id == parts.tokenizer.eot_id
    assert read_hugging_face(folder).sample == parts.sample


def test_text_ends_at_each_of_their_ends_of_text(make_foreign, tmp_path):
    """Several ends, none of them `<|endoftext|>`, and a beginning: as Llama 3 has them."""
    parts = make_foreign("<b>", "<e>", "<t>", tie_embeddings=False)
    ids = parts.tokenizer.special_tokens
    ends = {"stop_ids": (ids["<e>"],), "bos_id": ids["<b>"]}
    parts = parts._replace(sample=parts.sample.model_copy(update=ends))
    folder = written(parts, tmp_path / "hf")
    free = (
        load_theirs(folder)
        .generate(torch.tensor([[ids["<b>"]]]), do_sample=False, max_new_tokens=24)[0]
        .tolist()[1:]
    )
    last = max(free, key=free.index)  # the one that comes first the latest
    keys = json.loads((folder / "generation_config.json").read_text())
    keys["eos_token_id"] = [ids["<t>"], last]  # one more, and one that comes
    (folder / "generation_config.json").write_text(json.dumps(keys))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = load_theirs(folder).generate(**tokenizer("", return_tensors="pt"), max_new_tokens=24)
    write_run(tmp_path / "run", read_hugging_face(folder))
    loaded = load_run(tmp_path / "run")
    sample = loaded.config.sample
    prompt = prompt_ids(loaded.tokenizer, "", bos_id=sample.bos_id)
    drawn = list(stream_texts(loaded.model, loaded.tokenizer, [prompt], sample, seeds=[0]))
    assert prompt + [new.id for new, _ in drawn] == theirs[0].tolist()
    assert (drawn[-1][0].id, drawn[-1][0].finish) == (last, "stop")
    again = written(read_run(tmp_path / "run"), tmp_path / "again")
    kept = json.loads((again / "generation_config.json").read_text())
    assert kept == {**keys, "pad_token_id": ids["<t>"]}


def test_an_exported_chat_stops_in_transformers_where_its_turn_ends(chat_parts, tmp_path):
    parts = chat_parts
    ids = parts.tokenizer.special_tokens
    folder = written(parts, tmp_path / "hf")
    theirs, tokenizer = load_theirs(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs.generation_config.eos_token_id == [ids["<|im_end|>"], ids["<|endoftext|>"]]
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("<|im_end|>", "<|endoftext|>")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "the cat"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    ours = ChatTemplate(parts.chat_template, parts.tokenizer)
    assert asked[0].tolist() == ours.prompt_ids([{"role": "user", "content": "the cat"}])
    bias = transformers.SequenceBiasLogitsProcessor([[[ids["<|im_end|>"]], 1e4]])
    said = theirs.generate(asked, max_new_tokens=9, logits_processor=[bias])
    assert said[0, asked.shape[1] :].tolist() == [ids["<|im_end|>"]]


def test_gpt2_as_it_was_published_comes_in(make_parts, tmp_path):
    """The oldest files have no prefix before the names, and masks among the weights."""
    from safetensors.torch import load_file, save_file

    parts = make_parts(**GPT2)
    folder = written(parts, tmp_path / "hf")
    tensors = load_file(folder / "model.safetensors")
    old = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
    save_file(old, folder / "model.safetensors")
    back = read_hugging_face(folder)
    assert all(torch.equal(back.tensors[name], own) for name, own in parts.tensors.items())


# --- GGUF ---------------------------------------------------------------------------------------

NO_GGUF = ("qwen3, biased and untied", "qwen3 moe", "llama, linear", "llama, llama3", "qwen3, yarn")
GGUF_SHAPES = {name: shape for name, shape in SHAPES.items() if name not in NO_GGUF}
every_gguf_shape = pytest.mark.parametrize("shape", GGUF_SHAPES.values(), ids=GGUF_SHAPES)


def read_gguf(path):
    """Metadata, and tensors as float32 arrays with their types."""
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {
        tensor.name: (gguf.quants.dequantize(tensor.data, tensor.tensor_type), tensor.tensor_type)
        for tensor in reader.tensors
    }
    return fields, tensors


@every_gguf_shape
def test_gguf_file_holds_the_weights(make_parts, tmp_path, shape):
    pytest.importorskip("gguf")
    parts = make_parts(**shape)
    write_gguf(tmp_path / "a.gguf", parts, kind="f32", source="random weights")
    _, tensors = read_gguf(tmp_path / "a.gguf")
    assert sum(array.size for array, _ in tensors.values()) == sum(
        tensor.numel() for tensor in parts.tensors.values()
    )
    own = parts.tensors["layers.1.ffn.down_proj.weight"].numpy()
    np.testing.assert_array_equal(tensors["blk.1.ffn_down.weight"][0], own)
    np.testing.assert_array_equal(
        tensors["token_embd.weight"][0], parts.tensors["embed_tokens.weight"].numpy()
    )


@every_gguf_shape
def test_gguf_file_says_the_shape_and_the_tokenizer(make_parts, tmp_path, shape):
    pytest.importorskip("gguf")
    template = "{% for message in messages %}{{ message.content }}<|endoftext|>{% endfor %}"
    parts = make_parts(**shape, vocab_size=300)._replace(chat_template=template)
    architecture = write_gguf(tmp_path / "a.gguf", parts, kind="f16", source="random weights")
    fields, _ = read_gguf(tmp_path / "a.gguf")
    model, name = parts.model, fields["general.architecture"]
    assert name == architecture.gguf_name
    assert fields[f"{name}.block_count"] == model.n_layers
    assert fields[f"{name}.attention.head_count_kv"] == model.n_kv_heads
    assert fields[f"{name}.attention.key_length"] == model.d_head
    assert fields["tokenizer.ggml.model"] == "gpt2"
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert len(fields["tokenizer.ggml.tokens"]) == 300
    assert fields["tokenizer.ggml.tokens"][279:281] == ["<|endoftext|>", "[PAD280]"]
    assert fields["tokenizer.ggml.token_type"][278:281] == [1, 3, 5]
    assert len(fields["tokenizer.ggml.merges"]) == len(parts.tokenizer.merges)
    assert fields["tokenizer.ggml.bos_token_id"] == parts.tokenizer.eot_id
    assert fields["tokenizer.chat_template"] == template


def test_gguf_of_a_chat_says_where_a_turn_and_a_text_end(chat_parts, tmp_path):
    pytest.importorskip("gguf")
    write_gguf(tmp_path / "a.gguf", chat_parts, kind="f32", source="random weights")
    fields, _ = read_gguf(tmp_path / "a.gguf")
    ids = chat_parts.tokenizer.special_tokens
    assert fields["tokenizer.ggml.eos_token_id"] == ids["<|im_end|>"]
    assert fields["tokenizer.ggml.eot_token_id"] == ids["<|endoftext|>"]
    assert fields["tokenizer.ggml.bos_token_id"] == ids["<|endoftext|>"]


@pytest.mark.parametrize(("kind", "tolerance"), [("f16", 1e-3), ("bf16", 8e-3), ("q8_0", 8e-3)])
def test_gguf_types_are_as_close_as_their_bits_allow(make_parts, tmp_path, kind, tolerance):
    pytest.importorskip("gguf")
    parts = make_parts(d_ff=80)
    write_gguf(tmp_path / "a.gguf", parts, kind=kind, source="random weights")
    _, tensors = read_gguf(tmp_path / "a.gguf")
    own = parts.tensors["layers.0.ffn.up_proj.weight"].numpy()
    array, stored = tensors["blk.0.ffn_up.weight"]
    assert stored.name == kind.upper()
    assert abs(array - own).max() < tolerance * abs(own).max()
    assert tensors["blk.0.ffn_norm.weight"][1].name == "F32"
    if kind == "q8_0":  # 80 is not a multiple of its blocks
        assert tensors["blk.0.ffn_down.weight"][1].name == "F16"


def test_gguf_of_llama_is_what_transformers_reads_from_it(make_parts, tmp_path):
    """Their reader undoes the order of rows that llama.cpp wants."""
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    parts = make_parts(n_kv_heads=2)
    write_gguf(tmp_path / "a.gguf", parts, kind="f32", source="random weights")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="a.gguf").eval()
    ids = torch.randint(parts.model.vocab_size, (1, 30))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model_of(parts)(ids), rtol=0, atol=1e-5)


def test_rows_of_a_head_become_neighbouring_pairs():
    rows = torch.arange(12)[:, None]
    expected = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert neighbouring_pairs(rows, 6).flatten().tolist() == expected
    assert neighbouring_pairs(rows.flatten(), 6).tolist() == expected


@every_gguf_shape
def test_greedy_text_is_the_same_in_llama_cpp(make_parts, tmp_path, shape):
    llama_cpp = pytest.importorskip("llama_cpp")
    pytest.importorskip("gguf")
    parts = make_parts(**shape)
    write_run(tmp_path / "run", parts)
    write_gguf(tmp_path / "a.gguf", parts, kind="f32", source="random weights")
    loaded = load_run(tmp_path / "run")
    exact = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
    theirs = llama_cpp.Llama(
        str(tmp_path / "a.gguf"), n_ctx=64, n_threads=1, logits_all=True, verbose=False, **exact
    )
    ids = prompt_ids(loaded.tokenizer, PROMPT)
    assert theirs.tokenize(PROMPT.encode(), add_bos=True, special=False) == ids
    drawn = []
    theirs.eval(ids)
    for _ in range(24):
        drawn.append(int(theirs.scores[theirs.n_tokens - 1].argmax()))
        if drawn[-1] == loaded.tokenizer.eot_id:
            break
        theirs.eval(drawn[-1:])
    text = PROMPT + theirs.detokenize(drawn).decode("utf-8", "replace")
    theirs.close()
    assert text == greedy_text(loaded, PROMPT)
