import pytest

from minillm.config import ModelConfig
from minillm.interop.architectures import ARCHITECTURES
from minillm.interop.shape import architecture_of, from_keys, to_keys

GPT2 = {
    "norm": "layernorm",
    "position": "learned",
    "ffn": "gelu",
    "attention_bias": True,
    "ffn_bias": True,
}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "llama"),
        ({"ffn_bias": True, "attention_bias": True}, "llama"),
        ({"qk_norm": True}, "qwen3"),
        (GPT2, "gpt2"),
    ],
)
def test_architecture_is_the_one_that_computes_the_same(fields, name):
    assert architecture_of(ModelConfig(**fields), "runs/a") is ARCHITECTURES[name]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"ffn": "relu2", "d_ff": 64},
            "LlamaForCausalLM, the nearest, cannot express model.ffn (relu2)",
        ),
        ({"position": "nope"}, "model.position (nope)"),
        ({"attention": "mla"}, "model.attention (mla)"),
        ({"windows": (64, 0)}, "model.windows ((64, 0))"),
        ({"rope_scaling": "ntk", "rope_scaling_factor": 2.0}, "model.rope_scaling (ntk)"),
        ({"value_embeddings": True, "x0_skip": True}, "model.x0_skip (True)"),
        ({"qk_norm": True, "ffn_bias": True}, "model.qk_norm (True)"),
        (
            {**GPT2, "n_kv_heads": 2},
            "GPT2LMHeadModel, the nearest, cannot express model.n_kv_heads (2)",
        ),
        ({**GPT2, "d_head": 8}, "model.d_head (8)"),
        ({**GPT2, "n_heads": 5, "d_head": 8}, "model.d_head (8)"),
    ],
)
def test_fields_that_nobody_can_express_are_named(fields, words):
    with pytest.raises(ValueError, match="`runs/a` has no counterpart elsewhere") as caught:
        architecture_of(ModelConfig(**fields), "runs/a")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"dropout": 0.1, "attention_dropout": 0.1, "init_std": 0.5},
        {"attention_backend": "reference", "depth": 2},
        {**GPT2, "rope_theta": 77.0},  # idle: positions are a table
    ],
)
def test_fields_that_change_no_logit_do_not_matter(fields):
    assert architecture_of(ModelConfig(**fields), "runs/a").model_type in ("llama", "gpt2")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keys_of_a_table_are_no_idle_ones(name):
    from minillm.interop.architectures import IDLE_KEYS

    table = ARCHITECTURES[name]
    assert not IDLE_KEYS & {*table.keys, *table.constants}
    assert {field for field, _ in table.keys.values()} <= set(ModelConfig.model_fields)
    assert set(table.fixed) <= set(ModelConfig.model_fields)


def test_absent_keys_stand_for_what_transformers_takes():
    sizes = {
        "vocab_size": 100,
        "max_position_embeddings": 64,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    model = from_keys(ARCHITECTURES["llama"], sizes, "config.json")
    assert (model.n_kv_heads, model.d_head, model.norm_eps) == (4, 8, 1e-6)
    assert (model.tie_embeddings, model.rope_theta) == (False, 10_000.0)


def test_scaling_without_an_original_context_is_that_of_the_whole():
    """As transformers takes it; published files leave out the ramps, too."""
    keys = to_keys(ARCHITECTURES["llama"], ModelConfig(context_length=64))
    keys["rope_scaling"] = {"type": "yarn", "factor": 4}
    model = from_keys(ARCHITECTURES["llama"], keys, "config.json")
    assert (model.rope_original_context, model.rope_yarn_ramp) == (64, (1.0, 32.0))
    assert (model.rope_scaling, model.rope_scaling_factor) == ("yarn", 4)


def test_defaults_of_the_tables_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    for table in ARCHITECTURES.values():
        theirs = transformers.AutoConfig.for_model(table.model_type).to_dict()
        for key, (_, default) in table.keys.items():
            if isinstance(default, bool | float):
                assert theirs[key] == default, (table.model_type, key)
        for key, (value, *_) in table.constants.items():
            if value is not None and key in theirs:
                assert theirs[key] == value, (table.model_type, key)


def test_keys_say_the_shape_and_nothing_idle():
    keys = to_keys(ARCHITECTURES["qwen3"], ModelConfig(qk_norm=True, n_kv_heads=2))
    assert keys["num_key_value_heads"] == 2
    assert keys["use_sliding_window"] is False
    assert "layer_types" not in keys
