import multiprocessing
import os
import random
import signal
import time

import pytest

from minillm.checkpoint import latest_checkpoint, list_checkpoints
from minillm.pretrain import run
from minillm.train import loop

SLOW_IMPORTS = ["minillm.train", "torch._dynamo", "matplotlib.figure"]
"""What a run would import anyway, and what a process that is killed twice a second cannot."""


def train(config, **options):
    return run(config, **{"resume": False, "eval_only": False, "quiet": True, **options})


@pytest.fixture
def stop_after(monkeypatch):
    """Makes the process raise a signal on itself once `step` is done."""

    def arrange(step, number=signal.SIGTERM):
        original = loop.train_step

        def step_then_signal(current):
            result = original(current)
            if current.step + 1 == step:
                os.kill(os.getpid(), number)
            return result

        monkeypatch.setattr(loop, "train_step", step_then_signal)

    return arrange


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        ({"optim__name": "adamw"}, 1),
        ({"optim__name": "adamw"}, 8),
        ({"optim__name": "adamw"}, 19),
        ({"optim__name": "sgd"}, 10),
        ({"optim__name": "muon"}, 10),
        ({"optim__name": "muon", "model__n_experts": "4", "model__balance": "bias"}, 10),
    ],
)
def test_resumed_run_is_bit_equal_to_unbroken_run(
    make_config, tmp_path, stop_after, assert_equal_runs, changes, stop
):
    unbroken = make_config(train__out_dir=str(tmp_path / "unbroken"), **changes)
    broken = make_config(train__out_dir=str(tmp_path / "broken"), **changes)
    train(unbroken)

    stop_after(stop)
    assert not train(broken).is_complete
    assert latest_checkpoint(broken.train.out_dir)[0].step == stop
    assert train(broken, resume=True).is_complete

    assert_equal_runs(unbroken.train.out_dir, broken.train.out_dir)


def test_run_killed_at_random_moments_is_bit_equal_to_unbroken_run(
    make_config, tmp_path, assert_equal_runs
):
    unbroken = make_config(train__out_dir=str(tmp_path / "unbroken"), train__save_interval="1")
    killed = make_config(train__out_dir=str(tmp_path / "killed"), train__save_interval="1")
    train(unbroken)

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["minillm.pretrain", *SLOW_IMPORTS])
    moments = random.Random(0)
    kills = 0
    options = {"resume": "auto", "eval_only": False, "quiet": True}
    while True:
        process = processes.Process(target=run, args=(killed,), kwargs=options)
        process.start()
        saved = list_checkpoints(killed.train.out_dir)
        while process.is_alive() and list_checkpoints(killed.train.out_dir) == saved:
            time.sleep(0.002)
        process.join(moments.uniform(0, 0.1))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 3
    assert_equal_runs(unbroken.train.out_dir, killed.train.out_dir)
