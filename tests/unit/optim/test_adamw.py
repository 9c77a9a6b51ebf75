import copy

import pytest
import torch

from minillm.optim import SGD, AdamW, Muon
from textbook.optim import adamw_update

OPTIONS = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


def test_steps_over_lists_equal_the_written_out_rule_bit_for_bit():
    shapes = [(3, 4), (5,), (2, 3, 4)]
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    twins = [parameter.detach().clone() for parameter in parameters]
    means = [torch.zeros(shape) for shape in shapes]
    squares = [torch.zeros(shape) for shape in shapes]
    optimizer = AdamW(parameters, lr=3e-3, **OPTIONS)
    for step in range(1, 6):
        for parameter, twin, mean, square in zip(parameters, twins, means, squares, strict=True):
            parameter.grad = torch.randn_like(parameter)
            adamw_update(twin, parameter.grad, mean, square, step=step, lr=3e-3, **OPTIONS)
        optimizer.step()
    for parameter, twin in zip(parameters, twins, strict=True):
        assert torch.equal(parameter, twin)


def test_first_step_is_the_learning_rate_whatever_the_gradient():
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1e-3, -5.0, 700.0])
    AdamW([parameter], lr=0.1, weight_decay=0.0).step()
    torch.testing.assert_close(
        parameter.detach(), torch.tensor([-0.1, 0.1, -0.1]), rtol=1e-4, atol=0
    )


def test_decay_takes_its_share_even_where_the_gradient_is_zero():
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.zeros(3)
    AdamW([parameter], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.95))


@pytest.mark.parametrize("make", [AdamW, SGD, Muon])
def test_parameters_without_a_gradient_are_left_alone(make):
    still, moving = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    moving.grad = torch.ones(2, 2)
    optimizer = make([still, moving], lr=0.1, weight_decay=0.1)
    optimizer.step()
    assert torch.equal(still, torch.ones(2, 2))
    assert not torch.equal(moving, torch.ones(2, 2))
    assert still not in optimizer.state


@pytest.mark.parametrize("make", [AdamW, SGD, Muon])
def test_step_evaluates_a_closure_with_gradients(make):
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = make([parameter], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert parameter.sum() < 4.0


@pytest.mark.parametrize(
    "make",
    [
        lambda p: AdamW(p, lr=0.01),
        lambda p: SGD(p, lr=0.01, momentum=0.9),
        lambda p: Muon([{"params": p[:1]}, {"params": p[1:], "update": "adamw"}], lr=0.01),
    ],
    ids=["adamw", "sgd", "muon"],
)
def test_saved_and_loaded_state_continues_bit_for_bit(make):
    gradients = torch.randn(6, 3, 4)

    def advance(parameters, optimizer, steps):
        for gradient in gradients[steps]:
            parameters[0].grad, parameters[1].grad = gradient.clone(), gradient[0].clone()
            optimizer.step()

    unbroken = [torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.ones(4))]
    advance(unbroken, make(unbroken), slice(0, 6))
    first = [torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.ones(4))]
    optimizer = make(first)
    advance(first, optimizer, slice(0, 3))
    second = [torch.nn.Parameter(parameter.detach().clone()) for parameter in first]
    resumed = make(second)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(second, resumed, slice(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(unbroken, second, strict=True))


@pytest.mark.parametrize("make", [AdamW, Muon])
def test_all_state_is_tensors(make):
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    parameter.grad = torch.ones(2, 2)
    optimizer = make([parameter])
    optimizer.step()
    values = [value for state in optimizer.state.values() for value in state.values()]
    assert values
    assert all(isinstance(value, torch.Tensor) for value in values)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (AdamW, {"lr": -1.0}, r"lr \(-1.0\) must be at least 0"),
        (AdamW, {"lr": float("nan")}, r"lr \(nan\) must be at least 0"),
        (AdamW, {"eps": -1e-8}, r"eps \(-1e-08\) must be at least 0"),
        (AdamW, {"betas": (0.9, 1.0)}, r"betas\[1\] \(1.0\) must be at least 0 and less than 1"),
        (SGD, {"momentum": 1.5}, r"momentum \(1.5\) must be at least 0 and less than 1"),
        (Muon, {"weight_decay": -0.1}, r"weight_decay \(-0.1\) must be at least 0"),
    ],
)
def test_options_out_of_range_are_named(make, options, message):
    with pytest.raises(ValueError, match=message):
        make([torch.nn.Parameter(torch.ones(2, 2))], **options)
