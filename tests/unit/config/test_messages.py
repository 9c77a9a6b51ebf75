"""Each message that a bad configuration can end in."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from minillm.config import ModelConfig, format_validation_error, load_config


def message_of(**arguments) -> str:
    with pytest.raises(ValueError) as caught:
        load_config(**arguments)
    return str(caught.value)


def message_of_file(folder: Path, text: str, name: str = "a.yaml") -> str:
    (folder / name).write_text(text)
    return message_of(file=folder / name).replace(f"{folder}/", "")


def message_of_override(field: str, text: str) -> str:
    return message_of(overrides={field: text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model: {n_layer: 3}",
            "unknown key `model.n_layer` in `a.yaml`\nhint: did you mean `model.n_layers`?",
        ),
        ("modle: {}", "unknown key `modle` in `a.yaml`\nhint: did you mean `model`?"),
        (
            "learning_rate: 1e-3",
            "unknown key `learning_rate` in `a.yaml`\nhint: did you mean `optim.learning_rate`?",
        ),
        (
            "train: {weight_decay: 1}",
            "unknown key `train.weight_decay` in `a.yaml`"
            "\nhint: did you mean `optim.weight_decay`?",
        ),
        ("model: {xyzzy: 3}", "unknown key `model.xyzzy` in `a.yaml`"),
        ("3: {}", "unknown key `3` in `a.yaml`"),
        ("- model", "`a.yaml` holds a list, expected a mapping of sections"),
        ("tiny", "`a.yaml` holds a str, expected a mapping of sections"),
        ("model: tiny", "`model` in `a.yaml` is 'tiny', expected a mapping of fields"),
        (
            "model: {n_layers: four}",
            "`model.n_layers` in `a.yaml` is 'four', expected an integer",
        ),
        ("model: {n_layers: 2.5}", "`model.n_layers` in `a.yaml` is 2.5, expected an integer"),
        ("model: {n_layers: true}", "`model.n_layers` in `a.yaml` is True, expected an integer"),
        ("model: {n_layers: null}", "`model.n_layers` in `a.yaml` is None, expected an integer"),
        ("model: {n_layers: 0}", "`model.n_layers` in `a.yaml` is 0, expected more than 0"),
        ("train: {compile: 1}", "`train.compile` in `a.yaml` is 1, expected true or false"),
        ("train: {seed: -1}", "`train.seed` in `a.yaml` is -1, expected at least 0"),
        ("optim: {eps: small}", "`optim.eps` in `a.yaml` is 'small', expected a number"),
        ("optim: {eps: .inf}", "`optim.eps` in `a.yaml` is inf, expected a finite number"),
        ("model: {dropout: 1.0}", "`model.dropout` in `a.yaml` is 1.0, expected less than 1"),
        ("sample: {top_p: 1.5}", "`sample.top_p` in `a.yaml` is 1.5, expected at most 1"),
        ("sample: {prompts: 3}", "`sample.prompts` in `a.yaml` is 3, expected a list"),
        ("sample: {prompts: [3]}", "`sample.prompts[0]` in `a.yaml` is 3, expected text"),
        ("data: {path: 3}", "`data.path` in `a.yaml` is 3, expected a path"),
        ("optim: {betas: [0.9]}", "`optim.betas[1]` in `a.yaml` is missing"),
        (
            "optim: {betas: [0.9, 0.9, 0.9]}",
            "`optim.betas` in `a.yaml` is [0.9, 0.9, 0.9], expected 2 values",
        ),
        (
            "train: {dtype: fp8}",
            "`train.dtype` in `a.yaml` is 'fp8', expected one of float32, bfloat16",
        ),
        ("a: 1\nb: [", "`a.yaml`, line 2: expected the node content, but found '<stream end>'"),
        ("train: {seed: 1, seed: 2}", "`a.yaml`, line 1: key `seed` comes twice"),
        ("a: \x00", "`a.yaml`: unacceptable character"),
    ],
)
def test_bad_file_is_told_by_place_value_and_expectation(tmp_path, text, expected):
    assert message_of_file(tmp_path, text).startswith(expected)


def test_broken_json_names_its_line(tmp_path):
    assert message_of_file(tmp_path, "{\n 3}", "a.json").startswith("`a.json`, line 2: expecting")


def test_missing_file_is_named(tmp_path):
    message = message_of(file=tmp_path / "no.yaml")
    assert message == f"cannot read `{tmp_path}/no.yaml`: No such file or directory"


def test_file_that_is_not_text_is_named(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xff")
    assert re.fullmatch(
        "cannot read `.*a.yaml`: not UTF-8 text", message_of(file=tmp_path / "a.yaml")
    )


def test_unknown_preset_lists_the_known_ones():
    assert message_of(model="tinny") == (
        "unknown model preset `tinny`, expected one of 1b, 1m, 220m, 350m, 35m, 500m,"
        " gpt2, nano, small, tiny, tinystories-17m or a file\nhint: did you mean `tiny`?"
    )
    assert message_of(recipe="clasic") == (
        "unknown recipe preset `clasic`, expected one of classic, compat, sft or a file"
        "\nhint: did you mean `classic`?"
    )


def test_model_file_may_not_train(tmp_path):
    (tmp_path / "m.yaml").write_text("optim: {}")
    message = message_of(model=f"{tmp_path}/m.yaml")
    assert message == (
        f"`optim` does not belong in `{tmp_path}/m.yaml`: a model file holds only `model`"
        "\nhint: pass a file that holds both as --config"
    )


def test_recipe_file_may_not_shape_the_model(tmp_path):
    (tmp_path / "r.yaml").write_text("model: {}")
    assert "a recipe file holds everything but `model`" in message_of(recipe=f"{tmp_path}/r.yaml")


def test_override_names_the_command_line():
    assert message_of_override("model.n_layer", "3") == (
        "unknown key `model.n_layer` on the command line\nhint: did you mean `model.n_layers`?"
    )
    assert message_of_override("train.seed", "x") == (
        "`train.seed` on the command line is 'x', expected an integer"
    )


def test_override_that_is_broken_yaml_is_still_one_message():
    assert message_of_override("train.seed", "[").startswith(
        "`train.seed` on the command line is '[', expected"
    )


def test_several_mistakes_are_told_at_once():
    message = message_of(overrides={"model.n_layers": "x", "train.seed": "y"})
    assert message == (
        "`model.n_layers` on the command line is 'x', expected an integer\n"
        "`train.seed` on the command line is 'y', expected an integer"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"d_model": 770, "n_heads": 12},
            "d_model (770) must be a multiple of n_heads (12) when d_head is absent",
        ),
        ({"n_heads": 4, "n_kv_heads": 3}, "n_heads (4) must be a multiple of n_kv_heads (3)"),
        ({"d_head": 7}, "d_head (7) must be even and above 0: RoPE turns channels in pairs"),
        ({"d_model": 2, "n_heads": 4}, "d_model (2) must be a multiple of n_heads (4)"),
        ({"windows": (1,) * 5}, "windows (5 of them) must not be more than n_layers (4)"),
        (
            {"attention": "mla", "d_head_v": 0},
            "d_head_v (0) must be 1 or above with attention (mla)",
        ),
        (
            {"attention": "mla", "n_kv_heads": 2},
            "n_kv_heads (2) must be n_heads (4) with attention (mla)",
        ),
        ({"attention": "mla", "qk_norm": True}, "qk_norm (true) does not go with attention (mla)"),
        (
            {"attention": "mla", "rope_fraction": 0.5},
            "rope_fraction (0.5) must be 1 with attention (mla)",
        ),
        ({"attention": "mla", "d_head_rope": 5}, "d_head_rope (5) must be even and above 0: RoPE"),
        (
            {"attention_softcap": 30.0},
            "attention_softcap (30) needs attention_backend flex or reference, not sdpa",
        ),
        (
            {"attention_dropout": 0.1, "attention_backend": "flex"},
            "attention_dropout (0.1) needs attention_backend sdpa or reference, not flex",
        ),
        (
            {"d_head": 10, "rope_fraction": 0.5},
            "d_head (10) times rope_fraction (0.5), 5 channels, must be even and above 0",
        ),
        (
            {"rope_scaling": "linear", "rope_scaling_factor": 2.0, "position": "nope"},
            "rope_scaling (linear) needs position rope, not nope",
        ),
        (
            {"rope_scaling": "yarn"},
            "rope_scaling_factor (1) must be above 1 with rope_scaling (yarn)",
        ),
        (
            {"rope_scaling": "yarn", "rope_scaling_factor": 2.0, "rope_yarn_ramp": (4.0, 4.0)},
            "rope_yarn_ramp (4, 4) must begin with the fewer turns",
        ),
        (
            {"rope_scaling": "ntk", "rope_scaling_factor": 2.0, "d_head": 2},
            "d_head (2) must be above 2 with rope_scaling (ntk)",
        ),
        (
            {"nope_interval": 1},
            "nope_interval (1) must be 0 for RoPE in all layers, or 2 to n_layers (4); for RoPE in",
        ),
        ({"nope_interval": 5}, "nope_interval (5) must be 0 for RoPE in all layers, or 2 to"),
    ],
)
def test_shape_that_cannot_be_built_is_refused(fields, expected):
    with pytest.raises(ValidationError) as caught:
        ModelConfig(**fields)
    assert format_validation_error(caught.value).startswith(expected)


def test_odd_heads_are_fine_without_rope():
    assert ModelConfig(d_head=7, position="nope").d_head == 7


def test_seq_len_beyond_the_context_is_refused():
    assert message_of_override("train.seq_len", "512") == (
        "train.seq_len (512) must not exceed model.context_length (256)"
    )


def test_unknown_key_in_code_is_told_in_the_house_style():
    with pytest.raises(ValidationError) as caught:
        ModelConfig(n_layer=3)
    assert format_validation_error(caught.value) == "unknown key `n_layer`"


def test_override_without_effect_warns():
    with pytest.warns(
        UserWarning,
        match=re.escape(
            "`optim.decay_fraction` has no effect: `optim.schedule` is cosine, not wsd"
        ),
    ):
        load_config(recipe="classic", overrides={"optim.decay_fraction": "0.5"})


def test_override_with_effect_does_not_warn(recwarn):
    load_config(recipe="compat", overrides={"optim.decay_fraction": "0.5", "optim.betas": "0,0"})
    assert not recwarn.list
