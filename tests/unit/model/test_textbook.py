"""Each written-out formula against PyTorch's kernel of the same name."""

import pytest
import torch
from torch.nn import functional as kernels

from minillm.model import IGNORED
from textbook import model as textbook

F64 = torch.float64


def rows(*shape, scale=3.0):
    return scale * torch.randn(*shape, dtype=F64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (textbook.silu, kernels.silu),
        (textbook.gelu, lambda x: kernels.gelu(x, approximate="tanh")),
        (textbook.relu2, lambda x: kernels.relu(x).square()),
        (textbook.softmax, lambda x: kernels.softmax(x, -1)),
        (lambda x: textbook.softmax(x, 0), lambda x: kernels.softmax(x, 0)),
        (textbook.log_sum_exp, lambda x: torch.logsumexp(x, -1)),
    ],
    ids=["silu", "gelu", "relu2", "softmax", "softmax_dim_0", "log_sum_exp"],
)
def test_pointwise_formulas_match_torch(ours, theirs):
    x = rows(4, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_softmax_does_not_overflow(offset):
    x = torch.tensor([0.0, 1.0, 2.0])
    torch.testing.assert_close(textbook.softmax(x + offset), kernels.softmax(x, -1))


def test_linear_and_embedding_match_torch():
    x, weight, bias = rows(2, 3, 4), rows(5, 4), rows(5)
    torch.testing.assert_close(textbook.linear(x, weight), kernels.linear(x, weight))
    torch.testing.assert_close(textbook.linear(x, weight, bias), kernels.linear(x, weight, bias))
    ids = torch.tensor([[0, 4], [4, 2]])
    assert torch.equal(textbook.embedding(ids, weight), kernels.embedding(ids, weight))


def test_norms_match_torch():
    x, weight, bias = rows(2, 3, 8), rows(8), rows(8)
    expected = kernels.rms_norm(x, (8,), weight, 1e-6)
    torch.testing.assert_close(textbook.rms_norm(x, weight, 1e-6), expected)
    expected = kernels.layer_norm(x, (8,), weight, bias, 1e-6)
    torch.testing.assert_close(textbook.layer_norm(x, weight, bias, 1e-6), expected)


def test_rms_norm_takes_its_squares_in_float32():
    x = torch.full((4096,), 300.0).bfloat16()
    norm = textbook.rms_norm(x, torch.ones(4096, dtype=torch.bfloat16))
    torch.testing.assert_close(norm, torch.ones(4096, dtype=torch.bfloat16), rtol=1e-2, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_matches_torch(reduction):
    logits, targets = rows(3, 4, 7), torch.randint(7, (3, 4))
    targets[0, 1] = IGNORED
    expected = kernels.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction=reduction
    )
    actual = textbook.cross_entropy(logits, targets, reduction=reduction)
    torch.testing.assert_close(actual.flatten(), expected.flatten(), rtol=1e-12, atol=1e-12)


def test_cross_entropy_gradient_matches_torch():
    logits, targets = rows(6, 7).requires_grad_(), torch.randint(7, (6,))
    textbook.cross_entropy(logits, targets).backward()
    ours, logits.grad = logits.grad, None
    kernels.cross_entropy(logits, targets).backward()
    torch.testing.assert_close(ours, logits.grad, rtol=1e-12, atol=1e-12)


def test_cross_entropy_survives_huge_logits():
    logits = torch.tensor([[1000.0, 0.0, -1000.0]])
    assert textbook.cross_entropy(logits, torch.tensor([0])) == 0
    assert textbook.cross_entropy(logits, torch.tensor([2])) == 2000


def test_attention_matches_torch_sdpa():
    q, k, v = rows(2, 3, 5, 8), rows(2, 3, 7, 8), rows(2, 3, 7, 6)
    mask = torch.rand(5, 7) > 0.3
    mask[:, 0] = True
    for given in (None, mask):
        torch.testing.assert_close(
            textbook.scaled_dot_product_attention(q, k, v, given),
            kernels.scaled_dot_product_attention(q, k, v, given),
            rtol=1e-12,
            atol=1e-12,
        )


def test_attention_dropout_drops_weights_and_keeps_their_sum():
    q, k, v = rows(1, 64, 8), rows(1, 512, 8, scale=0.1), torch.ones(1, 512, 1, dtype=F64)
    sums = textbook.scaled_dot_product_attention(q, k, v, dropout=0.5)
    assert sums.std() > 0.01
    assert sums.mean().item() == pytest.approx(1, abs=0.05)


def test_causal_mask_lets_the_last_query_see_every_key():
    mask = textbook.causal_mask(2, 4, torch.device("cpu"))
    assert mask.tolist() == [[True, True, True, False], [True, True, True, True]]


def test_swiglu_is_its_formula():
    x, gate, up, down = rows(2, 4), rows(6, 4), rows(6, 4), rows(4, 6)
    expected = (kernels.silu(x @ gate.T) * (x @ up.T)) @ down.T
    torch.testing.assert_close(textbook.swiglu(x, gate, up, down), expected)
