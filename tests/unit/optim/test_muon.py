import pytest
import torch

from minillm.optim import AdamW, Muon, orthogonalize


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4), (3, 8, 5)])
def test_singular_values_end_near_1_and_directions_stay(shape):
    matrices = torch.randn(shape)
    result = orthogonalize(matrices, dtype=torch.float32)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    values = (u.mT @ result @ vh.mT).diagonal(dim1=-2, dim2=-1)
    assert ((values > 0.3) & (values < 1.3)).all()
    off_diagonal = u.mT @ result @ vh.mT - torch.diag_embed(values)
    assert off_diagonal.abs().max() < 1e-4


def test_a_batch_is_orthogonalized_matrix_by_matrix():
    matrices = torch.randn(3, 6, 4)
    one_by_one = torch.stack([orthogonalize(m, dtype=torch.float32) for m in matrices])
    torch.testing.assert_close(orthogonalize(matrices, dtype=torch.float32), one_by_one)


def test_scale_of_the_gradient_does_not_matter():
    matrix = torch.randn(6, 4)
    expected = orthogonalize(matrix, dtype=torch.float32)
    for scale in (1e-4, 1e6):
        result = orthogonalize(matrix * scale, dtype=torch.float32)
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)


def test_a_gradient_of_zero_stays_zero():
    assert not orthogonalize(torch.zeros(4, 4)).any()


@pytest.mark.parametrize("shape", [(64, 64), (16, 128), (128, 16)])
def test_update_has_the_size_of_adamws(shape):
    parameter = torch.nn.Parameter(torch.zeros(shape))
    parameter.grad = torch.randn(shape)
    Muon([parameter], lr=1.0, weight_decay=0.0).step()
    assert parameter.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25)


def test_decay_is_decoupled():
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(parameter.detach(), torch.full((4, 4), 0.95))


def test_groups_for_adamw_are_adamws():
    ours, theirs = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    options = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1}
    muon = Muon([{"params": [ours], "update": "adamw"}], **options)
    adamw = AdamW([theirs], **options)
    for _ in range(3):
        ours.grad = torch.randn(3)
        theirs.grad = ours.grad.clone()
        muon.step()
        adamw.step()
    assert torch.equal(ours, theirs)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match=r"muon updates matrices, got a parameter of shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.ones(3))])


def test_unknown_update_is_refused():
    with pytest.raises(ValueError, match="update is 'adam', expected muon or adamw"):
        Muon([{"params": [torch.nn.Parameter(torch.ones(2, 2))], "update": "adam"}])


def test_a_stack_of_matrices_is_updated_matrix_by_matrix():
    stack = torch.nn.Parameter(torch.randn(3, 8, 4))
    alone = [torch.nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    stack.grad = torch.randn(3, 8, 4)
    for matrix, gradient in zip(alone, stack.grad, strict=True):
        matrix.grad = gradient.clone()
    for parameters in ([stack], alone):
        Muon(parameters, lr=0.1).step()
    torch.testing.assert_close(stack.detach(), torch.stack([m.detach() for m in alone]))
