import os
import signal

import pytest

from minillm.checkpoint import latest_checkpoint
from minillm.pretrain import run
from minillm.train import loop


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
