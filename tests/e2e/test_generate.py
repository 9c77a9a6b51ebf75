import io
import json
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
def trained(trained_copy):
    """A run folder with two checkpoints, of a model that knows little."""
    return trained_copy("run", train__max_train_steps="8", train__save_interval="4")


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


def test_prompts_come_out_in_their_order_whatever_is_decoded_side_by_side(trained, call):
    prompts = [word for prompt in ("Tom saw a", "", "x") for word in ("--prompt", prompt)]
    options = ("--max-new-tokens", 12, "--temperature", 1, "--num-samples", 2)
    alone = [call(trained, *prompts[i : i + 2], *options)[1] for i in (0, 2, 4)]
    for batch_size in (1, 4, 9):
        _, out, err = call(trained, *prompts, *options, "--batch-size", batch_size)
        assert out == "".join(alone)
        assert [line for line in err.splitlines() if line.startswith("sample")] == [
            f"sample {number} of 6, seed {(number - 1) % 2}:" for number in range(1, 7)
        ]


def test_prompts_are_the_lines_of_a_file_or_of_standard_input(trained, call, tmp_path, monkeypatch):
    options = ("--max-new-tokens", 5)
    file = tmp_path / "prompts.txt"
    file.write_bytes("Tom\r\n\nsaw \u20ac\n".encode())
    named = [word for prompt in ("a", "Tom", "saw \u20ac") for word in ("--prompt", prompt)]
    expected = call(trained, *named, *options)[1]
    assert call(trained, "--prompt", "a", "--prompt-file", file, *options)[1] == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nTom\nsaw \u20ac"))
    assert call(trained, "--prompt-file", "-", *options)[1] == expected


def test_json_has_a_line_for_each_sample(trained, call):
    options = ("--prompt", "Tom", "--prompt", "a", "--max-new-tokens", 20, "--temperature", 1)
    text = call(trained, *options, "--stop", "e")[1]
    code, out, _ = call(trained, *options, "--stop", "e", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["prompt"] for record in records] == ["Tom", "a"]
    assert "".join(f"{record['prompt']}{record['text']}\n" for record in records) == text
    assert {record["finish"] for record in records} <= {"stop", "length"}
    assert set(records[0]) == {"prompt", "seed", "text", "finish"}


def test_log_probabilities_are_in_the_json(trained, call):
    options = ("--prompt", "Tom", "--max-new-tokens", 6, "--temperature", 0, "--json")
    _, out, _ = call(trained, *options, "--logprobs", 2)
    tokens = json.loads(out)["tokens"]
    assert 1 <= len(tokens) <= 6
    for token in tokens:
        assert token["logprob"] < 0
        assert {**token["top"][0], "top": token["top"]} == token
        assert token["top"][1]["logprob"] <= token["logprob"]
    assert "top" not in json.loads(call(trained, *options, "--logprobs", 0)[1])["tokens"][0]


def test_greedy_text_can_be_bent_by_bias_and_penalty(trained, call):
    options = (trained, "--prompt", "Tom", "--temperature", 0, "--max-new-tokens", 9)
    bent = call(*options, "--logit-bias", "120=1e6", "--logit-bias", "256=-1e9")[1]
    assert bent == "Tom" + "x" * 9 + "\n"
    bent = call(*options, "--logit-bias", "120=1e3", "--repetition-penalty", "1e6")[1]
    assert bent.startswith("Tomx")
    assert bent.count("x") == 1


def test_a_stop_string_of_the_run_holds_unless_another_is_given(make_config, call):
    config = make_config(
        train__max_train_steps="8", sample__stop="e", sample__logit_bias="{101: 9}"
    )
    run(config, resume=False, eval_only=False, quiet=True)
    options = (config.train.out_dir, "--prompt", "Tom", "--max-new-tokens", 20)
    assert "e" not in call(*options)[1]
    assert "e" in call(*options, "--stop", "never comes")[1]
    assert "\n\n" in (config.train.out_dir / "samples.txt").read_text()


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


def test_settings_that_change_no_weight_can_be_given(trained, call):
    longer = (trained, "--prompt", "a" * 40, "--max-new-tokens", 5)
    scaled = ("--model.rope-scaling", "yarn", "--model.rope_scaling_factor", "2")
    assert call(*longer)[0] == 1
    code, out, _ = call(*longer, *scaled, "--model.context_length", 64)
    assert (code, out[:40]) == (0, "a" * 40)
    code, out, err = call(trained, "--model.d_ff", 3)
    assert (code, out) == (1, "")
    assert "model.d_ff cannot be changed in a trained model, only one of context_length" in err


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
    assert "hint: cut it to its last 31; an end-of-text token before it counts too" in err
    assert "prompt 2 has 33 tokens" in call(trained, "--prompt", "a", "--prompt", "a" * 32)[2]


def test_prompt_of_the_whole_context_is_continued(trained, call):
    code, out, _ = call(trained, "--prompt", "a" * 31, "--max-new-tokens", 40)
    assert code == 0
    assert out.startswith("a" * 31)


def test_bad_prompt_files(trained, call, tmp_path):
    file = tmp_path / "prompts.txt"
    assert f"`{file}`: no such file" in call(trained, "--prompt-file", file)[2]
    file.write_bytes(b"\n\n")
    assert f"`{file}` holds no prompt" in call(trained, "--prompt-file", file)[2]
    file.write_bytes(b"\xff")
    assert f"`{file}` is not UTF-8 text" in call(trained, "--prompt-file", file)[2]


def test_bias_for_an_id_beyond_the_vocabulary(trained, call):
    code, out, err = call(trained, "--logit-bias", "257=1")
    assert (code, out) == (1, "")
    assert "logit_bias names id 257, vocab_size is 257" in err


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


def test_settings_of_run_and_command_are_checked_together(trained, call):
    code, _, err = call(trained, "--temperature", "inf")
    assert (code, "`temperature` is inf, expected a finite number" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--top-k", "-1"], "top-k"),
        (["--top-p", "1.5"], "top-p"),
        (["--num-samples", "0"], "num-samples"),
        (["--stop", ""], "--stop is empty"),
        (["--min-p", "1.5"], "min-p"),
        (["--repetition-penalty", "0"], "repetition-penalty"),
        (["--batch-size", "0"], "batch-size"),
        (["--logprobs", "1"], "--logprobs has no place in plain text\nhint: add --json"),
        (["--logit-bias", "5:1"], "--logit-bias is `5:1`, expected ID=NUMBER, as in 13=-2.5"),
        (["--logit-bias", "5=nan"], "--logit-bias is `5=nan`"),
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
