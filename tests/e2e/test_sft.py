"""`minillm sft` and `minillm chat`, as a user calls them."""

import io
import json
import os
import pty
import random
import select
import subprocess
import sys
import time

import pytest
import torch

from minillm import messages
from minillm.chat import Talk
from minillm.checkpoint import latest_checkpoint, list_checkpoints
from minillm.cli import build_app
from minillm.infer import load_run

ANIMALS = ["fox", "dog", "owl", "cat"]


def write_chats(path, count, seed):
    rng = random.Random(seed)
    with path.open("w") as file:
        for _ in range(count):
            animal = rng.choice(ANIMALS)
            turns = [
                {"role": "user", "content": f"call {animal}"},
                {"role": "assistant", "content": f"{animal}!"},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


@pytest.fixture
def base(trained_copy):
    """A run that knows bytes and little else."""
    return trained_copy(
        "base",
        model__context_length="64",
        train__seq_len="64",
        train__max_train_steps="2",
        train__generate_interval="0",
    )


@pytest.fixture
def call(base, tmp_path, capsys):
    write_chats(tmp_path / "train.jsonl", 60, seed=0)
    write_chats(tmp_path / "val.jsonl", 8, seed=1)
    words = {
        "--init-from": base,
        "--data": tmp_path / "train.jsonl",
        "--data.val": tmp_path / "val.jsonl",
        "--out-dir": tmp_path / "chat",
        "--max-train-steps": 4,
        "--eval-interval": 2,
        "--device": "cpu",
        "--threads": 1,
    }

    def words_of(*more, **changes):
        given = {**words, **{f"--{name.replace('_', '-')}": v for name, v in changes.items()}}
        pairs = [str(part) for pair in given.items() if pair[1] is not None for part in pair]
        return [*pairs, *map(str, more)]

    def run_sft(*more, **changes):
        code = messages.run(build_app(), ["sft", *words_of(*more, **changes)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run_sft.words_of = words_of
    return run_sft


def weights(folder):
    return latest_checkpoint(folder)[0].tensors("model")


@pytest.fixture
def talk(capsys, monkeypatch):
    def run_chat(folder, typed, *words):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = messages.run(build_app(), ["chat", str(folder), *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_chat


@pytest.mark.slow
def test_a_model_learns_to_answer(call, talk, tmp_path):
    code, _, said = call(max_train_steps=300, learning_rate=3e-3)
    assert code == 0, said
    code, out, _ = talk(tmp_path / "chat", "call owl\ncall cat\n", "--temperature", "0")
    assert (code, out) == (0, "owl!\ncat!\n")


def test_a_run_is_evaluated_saved_and_can_chat(call, talk, tmp_path):
    code, out, said = call()
    assert (code, out) == (0, ""), said
    assert "60 conversations in" in said
    assert "val loss" in said
    assert (tmp_path / "chat/chat_template.jinja").is_file()
    typed = "call owl\n\n/temperature 0.5\n/new\ncall cat\n"
    code, out, said = talk(tmp_path / "chat", typed, "--max-new-tokens", "4")
    assert code == 0, said
    assert out.count("\n") >= 2
    assert said.splitlines()[-2:] == ["temperature is 0.5", "begun anew"]


def test_a_base_model_completes(base, talk):
    code, out, said = talk(base, "Tom saw\n", "--max-new-tokens", "4")
    assert (code, out[-1:]) == (0, "\n")
    assert "has no chat template: it continues what it reads" in said


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("/temprature 1", "unknown command `/temprature 1`\nhint: did you mean `temperature`?"),
        ("/temperature -1", "`temperature` is -1, expected at least 0"),
        ("/temperature warm", "`temperature` is 'warm', expected a number"),
        ("/seed x", "unknown command `/seed x`"),
    ],
)
def test_what_cannot_be_meant_in_a_chat_is_named(base, talk, typed, message):
    code, _, said = talk(base, typed + "\n")
    assert (code, message in said) == (2, True), said


def test_a_turn_beyond_the_context_is_refused_and_older_turns_are_forgotten(call, talk, tmp_path):
    assert call()[0] == 0
    words = ("--max-new-tokens", "3")
    code, out, said = talk(tmp_path / "chat", "call owl\n" * 9, *words)
    assert (code, out.count("\n") >= 9) == (0, True), said
    code, _, said = talk(tmp_path / "chat", "y" * 80 + "\n", *words)
    assert (code, "this turn has " in said) == (1, True), said


def test_a_refused_turn_is_forgotten_and_the_talk_goes_on(call, tmp_path):
    assert call()[0] == 0
    one = Talk(load_run(tmp_path / "chat"), system="", seed=0)
    one.change({"max_new_tokens": 3})
    "".join(one.answer("call owl"))
    before = list(one.turns)
    with pytest.raises(ValueError, match="this turn has"):
        "".join(one.answer("y" * 80))
    assert one.turns == before
    assert one.command("stop", "") == "stop is none"
    "".join(one.answer("call cat"))
    assert [turn["content"] for turn in one.turns[::2]] == ["call owl", "call cat"]


def test_on_a_terminal_ctrl_c_ends_an_answer_and_ctrl_d_the_talk(base):
    child, terminal = pty.fork()
    if child == 0:
        words = ["chat", str(base), "--max-new-tokens", "60", "--device", "cpu", "--seed", "1"]
        os.execv(sys.executable, [sys.executable, "-m", "minillm.chat", *words[1:]])
    said = b""

    def until(expected):
        nonlocal said
        start = len(said)
        while expected not in said[start:]:
            assert select.select([terminal], [], [], 300)[0], said
            said += os.read(terminal, 4096)
        return said[start:]

    until(b"> ")
    os.write(terminal, b"\x03")
    until(b"> ")
    os.write(terminal, b"/temperature hot\n")
    assert b"expected a number" in until(b"> ")
    os.write(terminal, b"/help\n")
    assert b"/adapter NAME: there is none" in until(b"> ")
    os.write(terminal, b"Tom\n")
    until(b"Tom\r\n")
    os.write(terminal, b"\x03")
    until(b"> ")
    os.write(terminal, b"\x04")
    assert select.select([terminal], [], [], 300)[0], said  # it has closed its side
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"error: Keyboard" not in said


def test_resumed_tuning_is_bit_equal_to_the_unbroken_one(call, tmp_path):
    # The schedule is made for its number of steps: a constant one can be cut anywhere.
    for steps in (2, 4):
        folder = tmp_path / f"of-{steps}"
        call("--optim.schedule=constant", out_dir=folder, max_train_steps=steps)
    words = ["sft", "--resume", "--max-train-steps", "4", "--out-dir", tmp_path / "of-2"]
    assert messages.run(build_app(), [str(word) for word in words]) == 0
    one, other = weights(tmp_path / "of-4"), weights(tmp_path / "of-2")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_killed_tuning_goes_on_to_the_bit(call, tmp_path):
    """The process is killed between two checkpoints, in the middle of what it does."""
    settings = ("--lora.rank=2", "--lora.dropout=0.1", "--save-interval=4")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = {"max_train_steps": 24, "eval_interval": 12}
    assert call(*settings, out_dir=whole, **options)[0] == 0
    words = call.words_of(*settings, out_dir=killed, **options)
    process = subprocess.Popen([sys.executable, "-m", "minillm.sft", *words], stderr=-3)
    while not list_checkpoints(killed) and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert list_checkpoints(killed)
    assert latest_checkpoint(killed)[0].step < 24
    assert messages.run(build_app(), ["sft", "--resume", "--out-dir", str(killed), "--quiet"]) == 0
    for name in ("model", "optimizer", "rng"):
        one, other = (latest_checkpoint(f)[0].tensors(name) for f in (whole, killed))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "notes.txt"])
def test_a_folder_that_is_no_run_is_left_alone(call, tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    code, _, said = call(out_dir=tmp_path / "mine")
    assert (code, f"mine` is no run, and not empty: it holds `{name}`" in said) == (1, True), said
    assert "hint: choose another --out-dir" in said
    assert [(file.name, file.read_text()) for file in (tmp_path / "mine").iterdir()] == [
        (name, "mine")
    ]


def test_a_run_that_does_not_come_about_leaves_nothing_and_can_be_begun_again(call, tmp_path):
    content = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "train.jsonl").write_text(content + "{")
    assert call()[0] == 1
    assert [file.name for file in (tmp_path / "chat").iterdir()] == [".lock"]
    (tmp_path / "train.jsonl").write_text(content)
    code, _, said = call()
    assert code == 0, said


def test_what_ends_and_begins_a_text_stays_so(call, base, tmp_path):
    from minillm.interop import read_run, write_run

    parts = read_run(base)
    ends = {"stop_ids": (9, 7), "bos_id": 3, "temperature": 0.25}
    sample = parts.sample.model_copy(update=ends)
    write_run(tmp_path / "foreign", parts._replace(sample=sample))
    assert call(init_from=tmp_path / "foreign")[0] == 0
    tuned = load_run(tmp_path / "chat").config.sample
    assert (tuned.stop_ids, tuned.bos_id) == ((9, 7), 3)


def test_the_same_words_begin_and_go_on(call, tmp_path):
    for steps in (2, 4):
        code, _, said = call("--resume", "auto", max_train_steps=steps, recipe="sft")
        assert code == 0, said
    assert latest_checkpoint(tmp_path / "chat")[0].step == 4


def test_adapters_alone_are_tuned(call, tmp_path):
    code, _, said = call("--lora.rank=2")
    assert code == 0, said
    assert "learn" in said
    assert all(".adapters." in name for name in weights(tmp_path / "chat"))
    assert load_run(tmp_path / "chat").chat_template is not None


def test_preview_brackets_what_is_learned(call, tmp_path):
    code, out, said = call("--preview", "2")
    assert code == 0, said
    animal = json.loads((tmp_path / "train.jsonl").read_text().split("\n")[0])
    name = animal["messages"][1]["content"]
    assert f"assistant\n[[{name}<|endoftext|>]]" in out
    assert "1: " in said
    assert "are learned" in said
    assert not (tmp_path / "chat").exists()


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"init_from": None}, 2, "--init-from is missing"),
        ({"data": "data"}, 2, "--data is missing, or no .jsonl file"),
        ({"data": "none.jsonl"}, 1, "`none.jsonl`: no such file"),
        ({"preview": -1}, 2, "--preview. Must be >= 0"),
        ({"lora.targets": "[q_porj]", "lora.rank": 2}, 1, "the model has no `q_porj`"),
    ],
)
def test_bad_words_are_refused(call, changes, code, message):
    given, _, said = call(**changes)
    assert (given, message in said) == (code, True), said


def test_a_broken_line_is_named(call, tmp_path):
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"messages": [\n')
    code, _, said = call()
    assert code == 1
    assert "train.jsonl`, line 61: not JSON" in said


def test_a_template_of_ones_own(call, tmp_path):
    file = tmp_path / "own.jinja"
    file.write_text(
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}<|endoftext|>{% endfor %}"
        "{% if add_generation_prompt %}a:{% endif %}"
    )
    code, out, said = call("--preview", "1", chat_template=file)
    assert code == 0, said
    assert "<|endoftext|>a:[[" in out
    file.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    code, _, said = call(chat_template=file)
    assert (code, "no control token behind an assistant's turn" in said) == (1, True)


def test_a_template_that_is_no_text_is_named(call, tmp_path):
    file = tmp_path / "own.jinja"
    file.write_bytes(b"{{ messages }}\xff")
    code, _, said = call(chat_template=file)
    assert (code, f"error: `{file}`: 'utf-8' codec" in said) == (1, True), said


def test_an_edited_template_is_named_at_resume(call, tmp_path):
    assert call()[0] == 0
    with (tmp_path / "chat/chat_template.jinja").open("a") as file:
        file.write(" ")
    words = ["sft", "--resume", "--max-train-steps", "8", "--out-dir", str(tmp_path / "chat")]
    with pytest.raises(ValueError, match=r"train\.jsonl` \(or the run's `chat_template\.jinja`\)"):
        build_app()(words, result_action="return_value", exit_on_error=False)


def test_conversations_are_not_for_pretraining(call, base, tmp_path, capsys):
    call("--preview", "1")
    words = ["pretrain", "--init-from", base, "--data", tmp_path / "train.jsonl"]
    words += ["--out-dir", tmp_path / "pre"]
    code = messages.run(build_app(), [str(word) for word in words])
    said = capsys.readouterr().err
    assert (code, "train.jsonl` holds conversations: `minillm sft`" in said) == (1, True), said


def test_help_answers_without_torch():
    for verb in ("sft", "chat"):
        code = f"import sys, minillm.{verb}; assert 'torch' not in sys.modules"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
