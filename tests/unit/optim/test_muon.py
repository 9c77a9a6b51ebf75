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


def test_normuon_is_the_published_rule():
    start, gradients = torch.randn(3, 12, 8), torch.randn(5, 3, 12, 8)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = Muon([parameter], lr=0.1, momentum=0.9, weight_decay=0.2, row_decay=0.8)
    weight, mean = start.clone(), torch.zeros_like(start)
    rows = torch.zeros(3, 12)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        mean = 0.9 * mean + 0.1 * gradient
        for layer in range(3):
            looking_ahead = 0.1 * gradient[layer] + 0.9 * mean[layer]
            update = orthogonalize(looking_ahead, dtype=torch.float32)
            for row in range(12):
                rows[layer, row] = 0.8 * rows[layer, row] + 0.2 * update[row].square().mean()
                update[row] /= rows[layer, row].sqrt()
            step = 0.2 * 0.1 * (12 * 8) ** 0.5 / update.norm()
            weight[layer] -= 0.1 * 0.2 * weight[layer] + step * update
    torch.testing.assert_close(parameter.detach(), weight, rtol=1e-5, atol=1e-6)


def test_normuon_leaves_a_gradient_of_zero_at_zero():
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], weight_decay=0.0, row_decay=0.9).step()
    assert torch.equal(parameter.detach(), torch.ones(4, 4))
