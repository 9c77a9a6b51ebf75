import subprocess
import sys
from pathlib import Path

import pytest

from minillm.config import (
    SHORT_FLAGS,
    Config,
    ModelConfig,
    dump_yaml,
    list_presets,
    load_config,
)
from minillm.config.load import FIELDS, NEEDS


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_later_layers_win(tmp_path):
    file = write(tmp_path, "optim: {learning_rate: 2e-3, warmup_steps: 7}")
    config = load_config(
        model="nano",
        recipe="classic",
        file=file,
        overrides={"optim.warmup_steps": "9"},
        base={"model": {"d_model": 999, "vocab_size": 77}, "sample": {"top_k": 3}},
    )
    assert config.sample.top_k == 3  # base over defaults
    assert config.model.vocab_size == 77
    assert config.model.d_model == 128  # model preset over base
    assert config.optim.schedule == "cosine"  # recipe over defaults
    assert config.optim.learning_rate == 2e-3  # file over recipe
    assert config.optim.warmup_steps == 9  # overrides over file


def test_bare_configuration_is_the_default_presets():
    assert load_config() == load_config(model="tiny", recipe="compat")
    assert load_config().optim.name == "muon"


@pytest.mark.parametrize("model", list_presets("model"))
@pytest.mark.parametrize("recipe", list_presets("recipe"))
def test_every_preset_loads_and_survives_its_own_dump(tmp_path, model, recipe):
    config = load_config(model=model, recipe=recipe)
    assert load_config(file=write(tmp_path, dump_yaml(config))) == config


def test_presets_that_the_documentation_names_exist():
    named = {"1m", "nano", "tiny", "35m", "small", "gpt2", "220m", "350m", "500m", "1b"}
    assert named | {"tinystories-17m"} <= set(list_presets("model"))
    assert {"classic", "compat"} <= set(list_presets("recipe"))


def test_json_and_yaml_files_mean_the_same(tmp_path):
    yaml = write(tmp_path, "train: {batch_size: 3}")
    json = write(tmp_path, '{"train": {"batch_size": 3}}', "a.json")
    assert load_config(file=yaml) == load_config(file=json)


@pytest.mark.parametrize("text", ["3e-4", "3E-4", "0.0003", "3.0e-4", "+3e-4"])
def test_scientific_notation_is_a_float(tmp_path, text):
    file = write(tmp_path, f"optim: {{learning_rate: {text}}}")
    assert load_config(file=file).optim.learning_rate == 3e-4
    config = load_config(overrides={"optim.learning_rate": text})
    assert config.optim.learning_rate == 3e-4


def test_words_that_only_look_like_floats_stay_text(tmp_path):
    file = write(tmp_path, "sample: {prompts: [3e, e-4, 1e-4x]}")
    assert load_config(file=file).sample.prompts == ("3e", "e-4", "1e-4x")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("train.batch_size", "3", 3),
        ("train.compile", "true", True),
        ("train.out_dir", "123", Path("123")),
        ("data.val", "none", None),
        ("optim.betas", "0.8,0.9", (0.8, 0.9)),
        ("optim.betas", "[0.8, 0.9]", (0.8, 0.9)),
        ("sample.prompts", "Yes, it was", ("Yes, it was",)),
        ("sample.prompts", "[a, 'b, c']", ("a", "b, c")),
        ("train.dtype", "bfloat16", "bfloat16"),
        ("sample.logit_bias", "{5: -1, 7: 0.5}", {5: -1.0, 7: 0.5}),
    ],
)
def test_override_is_read_as_the_type_of_its_field(field, text, value):
    section, name = field.split(".")
    assert getattr(getattr(load_config(overrides={field: text}), section), name) == value


def test_ids_are_the_keys_of_biases_in_json_and_yaml_alike(tmp_path):
    biased = load_config(overrides={"sample.logit_bias": "{5: -1}"})
    yaml_file, json_file = tmp_path / "a.yaml", tmp_path / "a.json"
    yaml_file.write_text(dump_yaml(biased))
    json_file.write_text('{"sample": {"logit_bias": {"5": -1}}}')
    assert load_config(file=yaml_file) == load_config(file=json_file) == biased


def test_a_model_file_takes_the_place_of_a_preset(tmp_path):
    file = write(tmp_path, "model: {d_model: 96, n_heads: 3}")
    config = load_config(model=str(file))
    assert (config.model.d_model, config.model.d_head, config.model.d_ff) == (96, 32, 256)


def test_section_whose_lines_are_all_comments_changes_nothing(tmp_path):
    assert load_config(file=write(tmp_path, "model:\n  # d_model: 1\n")) == load_config()


def test_empty_file_changes_nothing(tmp_path):
    assert load_config(file=write(tmp_path, "")) == load_config()


def test_seq_len_defaults_to_context_length():
    assert load_config(model="gpt2").train.seq_len == 1024
    assert Config(model=ModelConfig(context_length=32)).train.seq_len == 32


def test_short_flags_name_fields_and_fields_once():
    assert set(SHORT_FLAGS.values()) <= set(FIELDS)
    assert len(set(SHORT_FLAGS.values())) == len(SHORT_FLAGS)


def test_fields_that_need_another_name_fields():
    assert set(NEEDS) | {other for other, _ in NEEDS.values()} <= set(FIELDS)


def test_config_never_imports_torch_or_numpy():
    code = (
        "import sys, minillm.config as c; c.load_config();"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
