"""Our optimizers against `torch.optim`, over many steps with changing gradients and rates."""

import pytest
import torch

from minillm.optim import SGD, AdamW, Muon, clip_grad_norm, orthogonalize
from minillm.optim.muon import NEWTON_SCHULZ

SHAPES = [(8, 6), (6,), (5, 4, 3), ()]


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def trained(make, dtype: torch.dtype, *, shapes=SHAPES, steps=50) -> list[torch.Tensor]:
    """Parameters after training from one seed, with a new learning rate at each step."""
    generator = torch.Generator().manual_seed(1)
    parameters = [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes
    ]
    optimizer = make([{"params": parameters[:2]}, {"params": parameters[2:], "weight_decay": 0.0}])
    for step in range(steps):
        for parameter in parameters:
            scale = 10.0 ** (step % 5 - 3)
            noise = torch.randn(parameter.shape, generator=generator, dtype=dtype)
            parameter.grad = scale * noise + 0.1 * parameter.detach()
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 + step % 7)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("foreach", [True, False])
def test_adamw_equals_torch_bit_for_bit(dtype, foreach):
    options = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    ours = trained(lambda p: AdamW(p, **options), dtype)
    theirs = trained(lambda p: torch.optim.AdamW(p, foreach=foreach, **options), dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_fused_adamw_is_torchs_and_near_the_one_written_out(dtype, rtol):
    options = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    ours = trained(lambda p: AdamW(p, fused=True, **options), dtype)
    theirs = trained(lambda p: torch.optim.AdamW(p, fused=True, **options), dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    plain = trained(lambda p: AdamW(p, **options), dtype)
    torch.testing.assert_close(ours, plain, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_equals_torch_bit_for_bit(dtype, momentum, weight_decay):
    options = {"momentum": momentum, "weight_decay": weight_decay}
    ours = trained(lambda p: SGD(p, **options), dtype)
    theirs = trained(lambda p: torch.optim.SGD(p, **options), dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("shape", [(16, 16), (8, 24), (24, 8)])
def test_orthogonalize_matches_torch(shape):
    matrix = torch.randn(shape)
    theirs = torch.optim._muon._zeropower_via_newtonschulz(matrix, NEWTON_SCHULZ, 5, 1e-7)
    # Both are 15 products deep, each rounded to 8 bits; against float64 both are off by 1.2%.
    assert (orthogonalize(matrix) - theirs.float()).norm() < 0.02 * theirs.float().norm()


@pytest.mark.parametrize("shape", [(16, 16), (8, 24), (24, 8)])
def test_muon_equals_torch_around_the_same_orthogonalization(shape, monkeypatch):
    def exact(matrices, *_, **__):
        return orthogonalize(matrices, dtype=torch.float64)

    monkeypatch.setattr("minillm.optim.muon.orthogonalize", exact)
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", exact)
    options = {"momentum": 0.95, "weight_decay": 0.1}
    shapes = [shape] * 3
    ours = trained(lambda p: Muon(p, **options), torch.float64, shapes=shapes)
    theirs = trained(
        lambda p: torch.optim.Muon(p, adjust_lr_fn="match_rms_adamw", **options),
        torch.float64,
        shapes=shapes,
    )
    for a, b in zip(ours, theirs, strict=True):
        # A batched product sums in another order than a single one.
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e3])
def test_clip_equals_torch_bit_for_bit(max_norm):
    ours = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    theirs = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    for a, b in zip(ours, theirs, strict=True):
        a.grad = torch.randn(a.shape)
        b.grad = a.grad.clone()
    norm = clip_grad_norm(ours, max_norm)
    assert torch.equal(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm))
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))
