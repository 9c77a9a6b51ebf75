import math

import pytest
import torch

from minillm.config import OptimConfig
from minillm.optim.schedule import (
    constant_schedule,
    cosine_schedule,
    scheduled_learning_rate,
    set_learning_rate,
    wsd_schedule,
)

COSINE = {"max_lr": 1.0, "min_lr": 0.1, "warmup_steps": 10, "total_steps": 110}
WSD = {**COSINE, "decay_steps": 50}


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (5, 0.5), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)],
)
def test_cosine_passes_through_its_landmarks(step, expected):
    assert cosine_schedule(step, **COSINE) == pytest.approx(expected)


def test_cosine_is_the_published_formula():
    for step in range(10, 110):
        formula = 0.1 + 0.5 * 0.9 * (1 + math.cos((step - 10) / 100 * math.pi))
        assert cosine_schedule(step, **COSINE) == pytest.approx(formula, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (5, 0.5), (10, 1.0), (60, 1.0), (85, 0.55), (110, 0.1), (500, 0.1)],
)
def test_wsd_passes_through_its_landmarks(step, expected):
    assert wsd_schedule(step, **WSD) == pytest.approx(expected)


def test_constant_stays():
    rates = [constant_schedule(step, max_lr=2.0, warmup_steps=4) for step in (0, 2, 4, 9999)]
    assert rates == [0.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
@pytest.mark.parametrize("total_steps", [1, 2, 5, 50])
@pytest.mark.parametrize("warmup_steps", [0, 1, 3, 80])
def test_rates_stay_in_range_however_short_the_run(schedule, total_steps, warmup_steps):
    config = OptimConfig(schedule=schedule, warmup_steps=warmup_steps)
    for step in range(total_steps + 3):
        rate = scheduled_learning_rate(config, step, total_steps, max_lr=0.3)
        assert 0 <= rate <= 0.3 * (1 + 1e-12)
        assert step == 0 or rate > 0


def test_decay_of_no_step_is_flat():
    config = OptimConfig(schedule="wsd", decay_fraction=0.0, warmup_steps=0)
    assert scheduled_learning_rate(config, 99, 100, max_lr=1.0) == 1.0


def test_first_step_learns_and_last_step_is_at_the_minimum():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weight], "max_lr": 1.0}], lr=9.0)
    config = OptimConfig(schedule="cosine", warmup_steps=10, min_learning_rate_ratio=0.25)
    set_learning_rate(optimizer, config, 0, 100)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    set_learning_rate(optimizer, config, 99, 100)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.25)


def test_groups_keep_their_own_height():
    a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [a], "max_lr": 1.0}, {"params": [b], "max_lr": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=9.0)
    set_learning_rate(optimizer, OptimConfig(schedule="constant", warmup_steps=0), 3, 10)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (5, 0.5), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)]
)
def test_linear_goes_straight_down_from_the_warm_up(step, expected):
    config = OptimConfig(schedule="linear", warmup_steps=10, min_learning_rate_ratio=0.1)
    assert scheduled_learning_rate(config, step, 110, max_lr=1.0) == pytest.approx(expected)


def test_linear_of_a_run_shorter_than_its_warm_up_still_ends():
    config = OptimConfig(schedule="linear", warmup_steps=10, min_learning_rate_ratio=0.1)
    rates = [scheduled_learning_rate(config, step, 5, max_lr=1.0) for step in range(7)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.1, 0.1])
