"""Runs that are not well: what is not finite, what does not fit, what is broken off."""

import os
import signal
import threading
import time

import pytest
import torch

from minillm.checkpoint import latest_checkpoint, list_checkpoints
from minillm.config import load_config
from minillm.pretrain import run
from minillm.track.metrics import read_metrics
from minillm.train import loop, saving, step


def train(config, **options):
    return run(config, **{"resume": False, "eval_only": False, "quiet": True, **options})


@pytest.fixture
def poison(monkeypatch):
    """Makes the gradient of a step's batch not finite, by the batch's place in the data."""

    def arrange(*places):
        original = loop.train_step

        def poisoned(current):
            if current.step + current.skipped_steps not in places:
                return original(current)
            weight = current.model.norm.weight
            hook = weight.register_hook(lambda gradient: gradient * float("nan"))
            try:
                return original(current)
            finally:
                hook.remove()

        monkeypatch.setattr(loop, "train_step", poisoned)

    return arrange


def steps_of(folder):
    return [record["step"] for record in read_metrics(folder) if "loss" in record]


def test_a_rewound_run_goes_on_behind_the_bad_batch(make_config, poison, tmp_path):
    config = make_config(train__on_nonfinite="rewind")
    poison(6)
    assert train(config).is_complete
    records = read_metrics(config.train.out_dir)
    assert [r for r in records if "rewinds" in r] == [{"step": 4, "rewinds": 1, "skipped_steps": 3}]
    assert steps_of(config.train.out_dir) == [1, 3, 6, 9, 12, 15, 18, 20]


def test_a_rewound_run_resumes_bit_equal(
    make_config, poison, tmp_path, monkeypatch, assert_equal_runs
):
    unbroken, broken = (
        make_config(train__on_nonfinite="rewind", train__out_dir=str(tmp_path / name))
        for name in ("unbroken", "broken")
    )
    poison(6, 14)
    train(unbroken)
    poisoned = loop.train_step

    def step_then_signal(current):
        if current.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return poisoned(current)

    monkeypatch.setattr(loop, "train_step", step_then_signal)
    assert not train(broken).is_complete
    monkeypatch.setattr(loop, "train_step", poisoned)
    assert train(broken, resume=True).is_complete
    assert_equal_runs(unbroken.train.out_dir, broken.train.out_dir)


def test_rewinding_is_bounded(make_config, poison, tmp_path):
    poison(*range(6, 100))
    with pytest.raises(ValueError, match="stopped being finite"):
        train(make_config(train__on_nonfinite="rewind", train__max_rewinds="2"))
    assert [r["rewinds"] for r in read_metrics(tmp_path / "run") if "rewinds" in r] == [2]


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(make_config, poison):
    poison(1)
    with pytest.raises(ValueError, match="there is no checkpoint yet"):
        train(make_config(train__on_nonfinite="rewind"))


def test_the_dry_run_leaves_no_trace(make_config, tmp_path, monkeypatch, assert_equal_runs):
    with_it, without = (
        make_config(train__max_train_steps="4", train__out_dir=str(tmp_path / name))
        for name in ("with", "without")
    )
    train(with_it)
    monkeypatch.setattr(loop, "dry_run", lambda current: "")
    train(without)
    assert_equal_runs(with_it.train.out_dir, without.train.out_dir)


@pytest.fixture
def small_memory(monkeypatch):
    """A device that holds two rows."""
    original = step._backward

    def bounded(current, batch, share, **options):
        if len(batch.ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        original(current, batch, share, **options)

    monkeypatch.setattr(step, "_backward", bounded)


def test_what_does_not_fit_is_trained_in_smaller_batches(
    make_config, small_memory, tmp_path, assert_equal_runs
):
    config = make_config(train__batch_size="8", train__gradient_accumulation_steps="1")
    assert train(config).is_complete
    frozen = load_config(file=config.train.out_dir / "config.yaml").train
    assert (frozen.batch_size, frozen.gradient_accumulation_steps) == (2, 4)
    whole = make_config(
        train__batch_size="2",
        train__gradient_accumulation_steps="4",
        train__eval_batches="8",  # as many tokens as 2 of the larger ones
        train__out_dir=str(tmp_path / "whole"),
    )
    train(whole)
    assert_equal_runs(config.train.out_dir, whole.train.out_dir)


@pytest.mark.parametrize("changes", [{"train__auto_micro_batch": "false"}, {}])
def test_what_cannot_be_halved_is_told(make_config, small_memory, changes):
    with pytest.raises(ValueError, match=r"out of memory: . x 32 tokens of this model do not fit"):
        train(make_config(train__batch_size="8" if changes else "3", **changes))


def test_reach_of_updates_is_measured_at_its_interval(make_config):
    config = make_config(train__health_interval="6")
    train(config)
    records = [r for r in read_metrics(config.train.out_dir) if "updates" in r]
    assert [record["step"] for record in records] == [6, 12, 18]
    for role in ("matrix", "table", "vector"):
        numbers = records[0]["updates"][role]
        assert numbers["learning_rate"] > 0
        assert 0 < numbers["update_ratio"] < 1 < numbers["weight_norm"]


def in_a_moment(number):
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()


@pytest.mark.parametrize("place", ["_backward", "write_samples"])
def test_what_takes_long_is_broken_off_and_what_was_done_is_saved(
    make_config, monkeypatch, tmp_path, place, soon_s, assert_equal_runs
):
    """As compiling would, or sampling from a large model."""

    def endless(*_, **__):
        in_a_moment(signal.SIGUSR1)
        time.sleep(600)

    began = time.perf_counter()
    config = make_config()
    with monkeypatch.context() as patched:
        patched.setattr(step if place == "_backward" else loop, place, endless)
        result = train(config)
    assert (result.is_complete, result.steps) == (False, 0 if place == "_backward" else 7)
    assert time.perf_counter() - began < soon_s
    unbroken = make_config(train__out_dir=str(tmp_path / "unbroken"))
    train(unbroken)
    assert run(config, resume=True, eval_only=False, quiet=True).is_complete
    assert_equal_runs(unbroken.train.out_dir, config.train.out_dir)


def test_training_goes_on_while_a_checkpoint_is_written(make_config, monkeypatch):
    write, seen = saving.save_checkpoint, []
    written = threading.Event()

    def slow(folder, **content):
        if content["step"] == 4:
            written.wait(60)
        return write(folder, **content)

    original = loop.train_step

    def watched(current):
        if current.step == 6:
            seen[:] = [current.saved_step, [path.name for path in list_checkpoints(current.folder)]]
            written.set()
        return original(current)

    monkeypatch.setattr(saving, "save_checkpoint", slow)
    monkeypatch.setattr(loop, "train_step", watched)
    config = make_config()
    train(config)
    assert seen == [-1, []]
    assert latest_checkpoint(config.train.out_dir)[0].step == 20
