import subprocess
import sys

import pytest
import torch

from minillm import messages
from minillm.generate import app
from minillm.infer import load_run
from minillm.pretrain import run
from minillm.tokenizer import Tokenizer


@pytest.fixture
def trained(make_config):
    """A run folder with two checkpoints, of a model that knows little."""
    changes = {"train__max_train_steps": "8", "train__save_interval": "4"}
    config = make_config(**changes)
    run(config, resume=False, eval_only=False, quiet=True)
    return config.train.out_dir


@pytest.fixture
def call(capsys):
    def run_verb(*words):
        code = messages.run(app, [str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_verb


def test_text_goes_to_stdout_and_speed_to_stderr(trained, call):
    code, out, err = call(trained, "--prompt", "Tom saw", "--max-new-tokens", 5)
    assert code == 0
    assert out.startswith("Tom saw")
    assert out.endswith("\n")
    assert "tokens/s" in err


def test_empty_prompt_begins_from_end_of_text(trained, call):
    code, out, _ = call(trained, "--max-new-tokens", 5)
    assert code == 0
    assert len(out) > 1


def test_seed_decides_and_each_sample_has_the_next(trained, call):
    options = ("--max-new-tokens", 20, "--temperature", 1)
    _, three, err = call(trained, *options, "--num-samples", 3, "--seed", 5)
    singles = [call(trained, *options, "--seed", seed)[1] for seed in (5, 6, 7)]
    assert "".join(singles) == three
    assert len(set(singles)) == 3
    assert "sample 2 of 3, seed 6" in err


def test_greedy_text_does_not_depend_on_the_seed(trained, call):
    options = (trained, "--prompt", "Tom", "--temperature", 0, "--max-new-tokens", 9)
    assert call(*options, "--seed", 1)[1] == call(*options, "--seed", 2)[1]


def test_stop_string_ends_the_sample_before_it(trained, call):
    options = (trained, "--prompt", "Tom", "--temperature", 1, "--max-new-tokens", 20)
    _, free, _ = call(*options)
    text = free.removeprefix("Tom").removesuffix("\n")
    stop = text[3:5]
    _, stopped, _ = call(*options, "--stop", stop, "--stop", "never \u20ac")
    assert stopped == "Tom" + text[: text.index(stop)] + "\n"


@pytest.mark.filterwarnings("error")
def test_model_reads_beyond_the_context_of_its_training(trained):
    before = load_run(trained)
    length = before.config.model.context_length
    changes = {"context_length": 2 * length, "rope_scaling": "yarn", "rope_scaling_factor": 2.0}
    after = load_run(trained, model=changes | {"windows": [0, 8]})
    assert after.config.model.rope_original_context == length
    assert after.model.config.windows == (0, 8)
    ids = torch.zeros(1, 2 * length, dtype=torch.int64)
    assert after.model(ids).isfinite().all()
    with pytest.raises(ValueError, match="exceeds context_length"):
        before.model(ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"d_ff": 3},
            "model.d_ff cannot be changed in a trained model, only one of context_length",
        ),
        (
            {"rope_scaling": "yarn"},
            r"rope_scaling_factor \(1\) must be above 1 with rope_scaling \(yarn\)",
        ),
    ],
)
def test_change_of_a_trained_model_that_cannot_be_is_refused(trained, changes, message):
    with pytest.raises(ValueError, match=message):
        load_run(trained, model=changes)


def test_run_is_its_newest_checkpoint(trained, call):
    options = ("--temperature", 0, "--prompt", "a", "--max-new-tokens", 30)
    newest = call(trained, *options)[1]
    assert call(trained / "step-000008", *options)[1] == newest
    older = load_run(trained / "step-000004").model
    assert not older.norm.weight.equal(load_run(trained).model.norm.weight)


def test_loaded_model_is_ready_for_use(trained):
    loaded = load_run(trained)
    assert not loaded.model.training
    assert loaded.config.model.vocab_size == loaded.tokenizer.vocab_size == 257


def test_unknown_path(tmp_path, call):
    code, out, err = call(tmp_path / "nothing")
    assert (code, out) == (1, "")
    assert "nothing` is no folder, expected a run or one of its checkpoints" in err


def test_empty_run_folder(tmp_path, call):
    code, _, err = call(tmp_path)
    assert code == 1
    assert f"`{tmp_path}` holds no checkpoint" in err
    assert "hint: train one with `minillm pretrain" in err


def test_prompt_longer_than_the_context(trained, call):
    code, out, err = call(trained, "--prompt", "a" * 32)
    assert (code, out) == (1, "")
    assert "the prompt has 33 tokens" in err
    assert "context_length is 32" in err
    assert "hint: cut it to its last 31 tokens" in err


def test_tokenizer_that_is_not_the_run_s(trained, call):
    other = Tokenizer({i: bytes([i]) for i in range(256)}, [], [], pattern=None)
    other.save(trained / "tokenizer.json")
    code, _, err = call(trained)
    assert code == 1
    assert "tokenizer.json` has sha256" in err


def test_missing_tokenizer(trained, call):
    (trained / "tokenizer.json").unlink()
    code, _, err = call(trained)
    assert code == 1
    assert "tokenizer.json` is missing" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--top-k", "-1"], "top-k"),
        (["--top-p", "1.5"], "top-p"),
        (["--num-samples", "0"], "num-samples"),
        (["--stop", ""], "--stop is empty"),
        (["--promt", "x"], "did you mean `--prompt`?"),
    ],
)
def test_wrong_option_is_wrong_usage(tmp_path, call, words, message):
    code, _, err = call(tmp_path, *words)
    assert code == messages.EXIT_USAGE
    assert message in err


def test_options_are_parsed_without_torch():
    check = "import sys, minillm.generate, minillm.demo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
