"""`minillm convert`, `minillm export` and `pretrain --init-from`, as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from minillm import messages
from minillm.checkpoint import Checkpoint
from minillm.cli import build_app
from minillm.config import load_config
from minillm.infer import load_run
from minillm.interop import write_run


@pytest.fixture
def trained(trained_copy):
    """A run folder of a model that knows little."""
    return trained_copy("run", train__max_train_steps="4", train__generate_interval="0")


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run_verb(*words):
        code = messages.run(build_app(), [str(word) for word in words])
        captured = capsys.readouterr()
        assert captured.out == ""
        return code, captured.err

    return run_verb


def weights(path):
    return load_run(Path(path)).model.state_dict()


def test_a_run_becomes_a_folder_and_a_run_again(trained, call):
    code, said = call("convert", trained, "hf")
    assert code == 0
    assert said.startswith("`hf` is a Qwen3ForCausalLM of ")
    code, said = call("convert", "hf", "again")
    assert (code, said.startswith("`again` is a run of ")) == (0, True)
    before, after = weights(trained), weights("again")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_folder_is_complete(trained, call, tmp_path):
    call("convert", trained, "hf", "--max-shard-size", "20KB", "--dtype", "bfloat16")
    names = {path.name for path in (tmp_path / "hf").iterdir() if "-of-" not in path.name}
    assert names == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "Qwen3ForCausalLM" in (tmp_path / "hf/README.md").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_gguf_from_a_run_and_from_a_folder_is_the_same(make_parts, call, tmp_path):
    pytest.importorskip("gguf")
    write_run(tmp_path / "run", make_parts())
    code, said = call("export", "run/step-000000", "a.gguf", "--dtype", "q8_0")
    assert (code, said[:24]) == (0, "`a.gguf`: llama, q8_0, 0"), said
    call("convert", "run", "hf")
    (tmp_path / "b").mkdir()
    call("export", "hf", "b/a.gguf", "--dtype", "q8_0")
    assert (tmp_path / "b/a.gguf").read_bytes() == (tmp_path / "a.gguf").read_bytes()


def test_a_text_ends_at_any_token_that_its_model_says(make_parts, call, tmp_path, capsys):
    write_run(tmp_path / "free", make_parts(tie_embeddings=False))
    options = ("--prompt", "the cat", "--temperature", "0", "--max-new-tokens", "20", "--json")

    def generated(folder):
        words = ["generate", str(tmp_path / folder), *options, "--logprobs", "0"]
        assert messages.run(build_app(), words) == 0
        return json.loads(capsys.readouterr().out)

    free = [token["id"] for token in generated("free")["tokens"]]
    last = max(free, key=free.index)  # the one that comes first the latest
    call("convert", "free", "hf")
    file = tmp_path / "hf/generation_config.json"
    keys = json.loads(file.read_text())
    file.write_text(json.dumps({**keys, "eos_token_id": [5, last]}))
    assert call("convert", "hf", "stops")[0] == 0
    stopped = generated("stops")
    assert [token["id"] for token in stopped["tokens"]] == free[: free.index(last) + 1]
    assert stopped["finish"] == "stop"


def test_export_without_its_package_names_the_command_that_adds_it(trained, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    code, said = call("export", trained, "a.gguf")
    assert code == 1
    assert said == (
        "error: the package gguf is not installed\n"
        "hint: add it from the checkout: uv pip install -e '.[export]'\n"
    )


@pytest.mark.parametrize("verb", ["convert", "export"])
def test_nothing_is_written_over(trained, call, tmp_path, verb):
    pytest.importorskip("gguf")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine").write_text("mine")
    code, said = call(verb, trained, "there")
    assert code == 1
    assert said.startswith("error: `there` exists already\nhint: choose another name")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "a", "b", "--max-shard-size", "5x"], "--max-shard-size: `5x` is no amount of"),
        (["convert", "a", "b", "--dtype", "int8"], "dtype"),
        (["convert", "a", "b", "--dtyp", "float32"], "did you mean `--dtype`?"),
        (["convert", "a"], "dst"),
        (["export", "a", "b", "--dtype", "q4"], "dtype"),
        (["export", "a", "b", "--format", "onnx"], "format"),
    ],
)
def test_wrong_option_is_wrong_usage(call, words, message):
    code, said = call(*words)
    assert code == messages.EXIT_USAGE
    assert message in said.lower()


def test_source_that_is_not_there(call):
    code, said = call("convert", "nothing", "b")
    assert code == 1
    assert "`nothing` is no folder" in said


@pytest.mark.parametrize("verb", ["convert", "export"])
def test_options_are_parsed_without_torch(verb):
    check = (
        f"import sys; from minillm import messages, {verb};"
        f" messages.run({verb}.app, ['--help']); messages.run({verb}.app, ['a', 'b', '--dtyp']);"
        " sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, check=False)
    assert done.returncode == 0


def begin(settings, out, *words, **changes):
    named = {name.replace("__", "."): value for name, value in changes.items()}
    kept = {name: value for name, value in settings.items() if not name.startswith("model.")}
    options = {**kept, "train.out_dir": str(out), "train.max_train_steps": "1", **named}
    given = [f"--{name}={value}" for name, value in options.items()]
    return messages.run(build_app(), ["pretrain", *given, *map(str, words), "--quiet"])


@pytest.mark.parametrize("kind", ["run", "hugging face"])
def test_pretraining_begins_from_weights(trained, call, settings, tmp_path, kind):
    source = trained
    if kind == "hugging face":
        call("convert", trained, "hf")
        source = tmp_path / "hf"
    tiny_step = {"optim__learning_rate": "1e-12", "optim__adamw_learning_rate": "1e-12"}
    assert begin(settings, tmp_path / "b", f"--init-from={source}", **tiny_step) == 0
    config = load_config(file=tmp_path / "b/config.yaml")
    assert config.model.d_model == 32
    assert config.train.init_from == source
    before, after = weights(trained), weights(tmp_path / "b")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-7)


def test_training_goes_on_with_a_longer_context(trained, call, settings, tmp_path, data_folder):
    longer = {
        "model__context_length": "96",
        "model__rope_scaling": "yarn",
        "model__rope_scaling_factor": "3",
        "train__seq_len": "96",
    }
    frozen = {"optim__learning_rate": "1e-12", "optim__adamw_learning_rate": "1e-12"}
    for out, changes in (("a", frozen), ("b", {"train__max_train_steps": "30"})):
        assert begin(settings, tmp_path / out, f"--init-from={trained}", **longer, **changes) == 0
    shape = load_config(file=tmp_path / "b/config.yaml").model
    assert (shape.context_length, shape.rope_original_context) == (96, 32)
    before, after = weights(trained), weights(tmp_path / "a")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-7)
    # The weights do as well beyond the old context as load_run makes them do, and then better.
    rope = {"rope_scaling": "yarn", "rope_scaling_factor": 3.0, "rope_original_context": 32}
    ids = torch.from_numpy(np.fromfile(data_folder / "val.bin", dtype="<u2")[:96].astype(int))[None]
    losses = [
        model(ids[:, :-1], targets=ids[:, 1:]).item()
        for model in (
            load_run(trained, model={"context_length": 96, **rope}).model,
            load_run(tmp_path / "a").model,
            load_run(tmp_path / "b").model,
        )
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[2] < 0.9 * losses[1]


def test_weights_of_a_source_are_read_once(trained, settings, tmp_path, monkeypatch):
    reads = []
    original = Checkpoint.tensors
    monkeypatch.setattr(
        Checkpoint, "tensors", lambda self, name: reads.append(name) or original(self, name)
    )
    assert begin(settings, tmp_path / "b", f"--init-from={trained}") == 0
    assert reads == ["model"]


def test_scaled_rope_has_no_gguf(make_parts, call, tmp_path):
    pytest.importorskip("gguf")
    parts = make_parts(rope_scaling="linear", rope_scaling_factor=2.0)
    write_run(tmp_path / "run", parts)
    code, said = call("export", "run", "a.gguf")
    assert code == 1
    assert "no GGUF is written of a model with rope_scaling (linear)" in said


def test_shape_comes_with_the_weights(trained, settings, tmp_path, capsys):
    assert begin(settings, tmp_path / "b", f"--init-from={trained}", "--model=nano") == 2
    assert "--model cannot be given with --init-from" in capsys.readouterr().err


def test_changed_width_is_refused_by_the_first_weight(trained, settings, tmp_path, capsys):
    assert begin(settings, tmp_path / "b", f"--init-from={trained}", model__d_ff="64") == 1
    assert "weight `layers.0.ffn.gate_proj.weight` is" in capsys.readouterr().err


def test_weights_of_another_vocabulary_are_refused(make_parts, settings, tmp_path, capsys):
    write_run(tmp_path / "other", make_parts())
    assert begin(settings, tmp_path / "b", f"--init-from={tmp_path / 'other'}") == 1
    said = capsys.readouterr().err
    assert f"is not that of `{tmp_path / 'other'}`" in said
    assert "hint: encode the text by `minillm-bpe encode --tokenizer" in said


def test_run_stopped_before_its_first_checkpoint_begins_from_the_weights_again(
    trained, settings, tmp_path
):
    from shutil import rmtree

    assert begin(settings, tmp_path / "b", f"--init-from={trained}") == 0
    first = weights(tmp_path / "b")
    rmtree(tmp_path / "b/step-000001")
    (tmp_path / "b/metrics.jsonl").unlink()
    code = messages.run(
        build_app(), ["pretrain", "--out-dir", str(tmp_path / "b"), "--resume", "--quiet"]
    )
    assert code == 0
    again = weights(tmp_path / "b")
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_weights_alone_are_no_run_to_resume(trained, call, settings, tmp_path, capsys):
    call("convert", trained, "hf")
    call("convert", "hf", "again")
    data = settings["data.path"]
    words = ["pretrain", "--out-dir", "again", "--resume", "--quiet", "--data", data]
    assert messages.run(build_app(), words) == 1
    said = capsys.readouterr().err
    assert "holds weights alone: there is no run to go on with" in said
    assert "hint: begin one from them by --init-from again" in said


def test_config_json_of_the_export_says_no_more_than_it_must(trained, call, tmp_path):
    call("convert", trained, "hf")
    keys = json.loads((tmp_path / "hf/config.json").read_text())
    assert keys["model_type"] == "qwen3"
    assert keys["tie_word_embeddings"] is True
    assert keys["eos_token_id"] == 256
    assert "auto_map" not in keys
