import json
import re
import signal

import pytest

from minillm import demo, messages
from minillm.config import load_config
from minillm.data import prepare
from minillm.data.stories import FLOOR_BITS_PER_BYTE
from minillm.track.metrics import read_metrics
from minillm.train import loop

SMALL = {
    "model.d_model": "32",
    "model.n_heads": "2",
    "model.n_layers": "1",
    "sample.max_new_tokens": "24",
    "train.eval_batches": "2",
    "train.threads": "1",
}


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    """Less text, and a smaller model that writes less; `.ci/long` runs the demo as it is."""
    monkeypatch.setattr(prepare, "STORIES_BYTES", 150_000)
    monkeypatch.setattr(prepare, "VOCAB_SIZE", 400)

    def load_small(*, overrides=None, **options):
        return load_config(overrides=overrides and overrides | SMALL, **options)

    monkeypatch.setattr(demo, "load_config", load_small)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "demo"


@pytest.fixture
def call(folder, capsys):
    """Runs the demo in `folder`; gives its exit code and what it said."""

    def run_verb(*words, steps=4):
        options = ["--out-dir", str(folder), "--steps", str(steps)]
        code = messages.run(demo.app, [*options, *map(str, words)])
        captured = capsys.readouterr()
        assert captured.out == ""
        return code, captured.err

    return run_verb


@pytest.fixture
def interrupt_at(monkeypatch):
    """Presses Ctrl-C in the middle of a step."""

    def press_at(step):
        train_step = loop.train_step

        def interrupted(run):
            if run.step + 1 == step:
                signal.raise_signal(signal.SIGINT)
            return train_step(run)

        monkeypatch.setattr(loop, "train_step", interrupted)

    yield press_at
    monkeypatch.undo()


def test_demo_goes_from_text_to_samples(folder, call):
    code, said = call()

    assert code == 0
    stages = re.findall(r"^(\d)/6 (\w+)", said, re.MULTILINE)
    names = ["machine", "text", "tokenizer", "encode", "pretrain", "done"]
    assert stages == [(str(i), name) for i, name in enumerate(names, start=1)]
    assert f"entropy floor {FLOOR_BITS_PER_BYTE:.4f} bits per byte" in said
    assert re.search(r"step     4  \d\.\d{4} bits per byte = +\d+\.\d\d x floor", said)
    assert "sample: Once upon a time" in said
    assert f"minillm generate {folder}" in said
    made = {path.name for path in folder.iterdir()}
    assert made >= {"tokenizer.json", "config.yaml", "loss.png", "samples.txt", "step-000004"}
    assert {path.name for path in (folder / "data").iterdir()} >= {"train.bin", "val.bin"}


def test_second_demo_says_that_it_is_complete(folder, call):
    call()
    before = read_metrics(folder)
    code, said = call()
    assert code == 0
    assert "complete" in said
    assert said.count("(kept)") == 3
    assert read_metrics(folder) == before


def test_interrupted_demo_says_how_to_go_on_and_goes_on(folder, call, interrupt_at):
    interrupt_at(3)
    code, said = call()
    assert code == messages.EXIT_RESUMABLE
    assert f"minillm demo --out-dir {folder} --steps 4" in said
    assert (folder / "step-000003").exists()

    code, said = call()
    assert code == 0
    assert "resumed from" in said
    assert (folder / "step-000004").exists()


def test_interrupt_before_training_says_how_to_go_on(folder, call, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "train_tokenizer", interrupted)
    code, said = call("--seed", 3)
    assert code == messages.EXIT_RESUMABLE
    assert f"to go on: minillm demo --out-dir {folder} --steps 4 --seed 3" in said
    monkeypatch.undo()
    assert not (folder / "data" / "prepared.json").exists()


def test_text_of_one_s_own(folder, call, tmp_path):
    text = tmp_path / "own words.txt"
    text.write_text("".join(f"The {i}th line, about nothing.\n" for i in range(5000)))
    code, said = call("--data", text)
    assert code == 0
    assert "floor" not in said
    assert "own words.txt: 0.2 MB" in said


def test_missing_text(call):
    code, said = call("--data", "nothing.txt")
    assert code == messages.EXIT_USAGE
    assert "--data is `nothing.txt`, expected stories, stdlib or a text file" in said


def test_short_text(call, tmp_path):
    (tmp_path / "short.txt").write_text("short")
    code, said = call("--data", tmp_path / "short.txt")
    assert code == 1
    assert "short.txt` has 18 bytes, expected at least 100,000" in said


@pytest.mark.parametrize("words", [("--steps", 5), ("--seed", 1), ("--data", "stdlib")])
def test_folder_of_another_demo_is_refused(call, interrupt_at, words):
    interrupt_at(1)
    call()
    code, said = call(*words) if words[0] != "--steps" else call(steps=5)
    assert code in (1, messages.EXIT_USAGE)
    assert "hint: choose another" in said


def test_folder_of_another_run_is_refused(folder, call, interrupt_at):
    interrupt_at(1)
    call()
    (folder / "data" / "prepared.json").unlink()
    code, said = call()
    assert code == messages.EXIT_USAGE
    assert "holds another run" in said


def test_prepared_folder_says_what_it_was_made_of(tmp_path):
    prepared = prepare.prepare_stories(tmp_path / "data")
    written = json.loads((tmp_path / "data" / "prepared.json").read_text())
    assert written["source"] == "stories"
    assert written["floor"] == prepared.floor == FLOOR_BITS_PER_BYTE
    assert prepare.prepare_stories(tmp_path / "data") == prepared
