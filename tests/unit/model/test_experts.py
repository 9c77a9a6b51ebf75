import copy
import math

import jaxtyping
import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import (
    MixtureOfExperts,
    Transformer,
    load_statistics,
    move_biases,
    reset_load,
)
from minillm.model.experts import Router, balance_loss, grouped_linear, router_z_loss
from textbook import model as textbook

SMALL = {
    "vocab_size": 40,
    "context_length": 16,
    "d_model": 24,
    "n_heads": 2,
    "n_layers": 3,
    "d_ff": 32,
    "d_expert": 16,
    "n_experts": 4,
    "init_std": 0.2,
}

LAYOUTS = {
    "softmax": {},
    "sigmoid_biased": {"router_score": "sigmoid", "balance": "bias", "router_scale": 2.5},
    "switch": {"n_experts_per_token": 1, "ffn": "gelu", "router_z_loss": 1e-3},
    "shared": {"n_shared_experts": 2, "n_dense_layers": 1, "ffn": "relu2", "balance": "none"},
    "all_chosen": {"n_experts_per_token": 4, "router_normalize": False},
    "unaligned": {"d_expert": 10, "d_model": 22, "n_heads": 1},
}


def config(**fields) -> ModelConfig:
    return ModelConfig(**{**SMALL, **fields})


def by_loop(layer: MixtureOfExperts, x: torch.Tensor) -> torch.Tensor:
    """Each token through each of its experts, one after the other."""
    chosen, weights, _ = layer.router(x.flatten(0, 1))
    experts, out = layer.experts, torch.zeros_like(x.flatten(0, 1))
    for token, row in enumerate(x.flatten(0, 1)):
        for expert, weight in zip(chosen[token], weights[token], strict=True):
            hidden = experts.up_proj.weight[expert] @ row
            if experts.gate_proj is None:
                hidden = experts.activation(hidden)
            else:
                hidden = experts.activation(experts.gate_proj.weight[expert] @ row) * hidden
            out[token] += weight * (experts.down_proj.weight[expert] @ hidden)
    out = out.view_as(x)
    return out if layer.shared_experts is None else out + layer.shared_experts(x)


@pytest.mark.parametrize("fields", LAYOUTS.values(), ids=LAYOUTS)
def test_grouped_computation_equals_a_loop_over_tokens_and_experts(fields):
    layer = MixtureOfExperts(config(**fields)).eval()
    x = torch.randn(2, 9, layer.router.config.d_model, requires_grad=True)
    results = []
    for compute in (layer, lambda x: by_loop(layer, x)):
        y = compute(x)
        gradients = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
        results.append((y, *gradients))
    for grouped, looped in zip(*results, strict=True):
        torch.testing.assert_close(grouped, looped, rtol=1e-4, atol=1e-5)


def test_mixture_is_its_formula():
    layer = MixtureOfExperts(config()).eval()
    x = torch.randn(2, 9, 24)
    experts = layer.experts
    stacks = (layer.router, experts.gate_proj, experts.up_proj, experts.down_proj)
    weights = [stack.weight for stack in stacks]
    expected = textbook.mixture_of_experts(x.flatten(0, 1), *weights, n_chosen=2)
    torch.testing.assert_close(layer(x), expected.view_as(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("d_in", [8, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_grouped_linear_is_one_product_per_group_and_empty_groups_get_no_gradient(d_in, dtype):
    rows = torch.randn(10, d_in, dtype=dtype)
    weights = torch.randn(4, 8, d_in, dtype=dtype, requires_grad=True)
    y = grouped_linear(rows, weights, torch.tensor([3, 3, 8, 10], dtype=torch.int32))
    pieces = [rows[:3] @ weights[0].T, rows[3:8] @ weights[2].T, rows[8:] @ weights[3].T]
    torch.testing.assert_close(y, torch.cat(pieces))
    (gradient,) = torch.autograd.grad(y, weights, torch.ones_like(y))
    assert gradient.flatten(1).any(1).tolist() == [True, False, True, True]


def test_a_token_alone_is_routed_as_in_a_batch():
    layer = MixtureOfExperts(config()).eval()
    x = torch.randn(1, 9, 24)
    alone = torch.cat([layer(x[:, i : i + 1]) for i in range(9)], dim=1)
    torch.testing.assert_close(layer(x), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("normalize", [True, False])
def test_weights_are_the_chosen_scores(score, normalize):
    router = Router(config(router_score=score, router_normalize=normalize, router_scale=3.0))
    x = torch.randn(7, 24)
    chosen, weights, counts = router(x)
    logits = x @ router.weight.T
    scores = logits.softmax(-1) if score == "softmax" else logits.sigmoid()
    best = scores.sort(descending=True).values[:, :2]
    expected = best / best.sum(-1, keepdim=True) if normalize else best
    torch.testing.assert_close(weights, 3 * expected)
    assert counts.tolist() == [(chosen == expert).sum() for expert in range(4)]


def test_router_stays_in_float32_under_autocast():
    router = Router(config())
    with torch.autocast("cpu", torch.bfloat16):
        _, weights, _ = router(torch.randn(7, 24).bfloat16())
    assert weights.dtype == torch.float32


def test_bias_changes_the_choice_and_not_the_weights():
    router = Router(config(balance="bias", router_normalize=False)).eval()
    x = torch.randn(7, 24)
    router.bias[3] = 10.0
    chosen, weights, counts = router(x)
    assert counts[3] == 7
    torch.testing.assert_close(weights, (x @ router.weight.T).softmax(-1).gather(-1, chosen))


def test_bias_moves_by_the_sign_of_the_load_of_all_micro_steps():
    router = Router(config(balance="bias", balance_rate=0.5, n_experts_per_token=1))
    router.weight.data = torch.eye(4, 24)
    reset_load(router)
    for busy in ([0, 0, 1], [1, 2]):
        router(torch.eye(24)[busy])
    assert router.load.tolist() == [2, 2, 1, 0]
    move_biases(router)
    assert router.bias.tolist() == [-0.5, -0.5, 0.5, 0.5]


def test_bias_evens_out_a_lopsided_router():
    router = Router(config(balance="bias", balance_rate=0.01))
    x = torch.randn(256, 24)
    x[:, 0] += 3.0
    router.weight.data[:, 0] = torch.tensor([1.0, 0.2, -0.2, -1.0])
    before = None
    for _ in range(200):
        reset_load(router)
        router(x)
        before = before or load_statistics(router)
        move_biases(router)
    after = load_statistics(router)
    assert before["expert_load_max"] > 1.5
    assert after["expert_load_max"] < 1.2
    assert after["expert_load_entropy"] > before["expert_load_entropy"]


def test_evaluation_counts_nothing_and_adds_nothing():
    model = Transformer(config(router_z_loss=0.1)).eval()
    ids = torch.randint(40, (2, 16))
    loss = model(ids, targets=ids)
    torch.testing.assert_close(loss, textbook.cross_entropy(model(ids), ids))
    assert not any(layer.ffn.router.load.any() for layer in model.layers)


def test_a_penalty_that_nobody_asked_for_reaches_no_later_evaluation():
    model = Transformer(config(router_z_loss=0.1))
    ids = torch.randint(40, (2, 16))
    model(ids)
    loss = model.eval()(ids, targets=ids)
    torch.testing.assert_close(loss, textbook.cross_entropy(model(ids), ids))


def test_experts_compute_in_float64():
    model = Transformer(config()).double().eval()
    ids = torch.randint(40, (2, 16))
    exact, rounded = model(ids), model.float()(ids)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-4, atol=1e-5)


def test_training_loss_adds_the_mean_penalty_of_the_layers_with_experts():
    fields = {"balance_rate": 0.3, "router_z_loss": 0.7, "n_dense_layers": 1}
    model = Transformer(config(**fields))
    ids = torch.randint(40, (2, 16))
    seen = []
    for layer in model.layers[1:]:
        layer.ffn.router.register_forward_hook(lambda router, x, _: seen.append((router, x[0])))
    loss = model(ids, targets=ids)
    penalties = []
    for router, x in seen:
        logits = x @ router.weight.T
        counts = router.load.long()
        balance = balance_loss(logits.softmax(-1), counts)
        penalties.append(0.3 * balance + 0.7 * router_z_loss(logits))
    in_training, alone = model.cross_entropy, model.eval()(ids, targets=ids)
    torch.testing.assert_close(loss, alone + sum(penalties) / 2)
    torch.testing.assert_close(in_training, alone)
    logged = load_statistics(model)
    assert logged["balance_loss"] + logged["router_z_loss"] == pytest.approx(
        (loss - alone).item(), rel=1e-5
    )


def test_balance_loss_is_least_where_experts_are_used_alike():
    even = balance_loss(torch.full((8, 4), 0.25), torch.tensor([4, 4, 4, 4]))
    assert even.item() == pytest.approx(2.0)  # two experts a token
    scores = torch.tensor([[0.7, 0.2, 0.05, 0.05]]).expand(8, 4)
    assert balance_loss(scores, torch.tensor([8, 8, 0, 0])) > even


def test_z_loss_sees_a_common_shift():
    logits = torch.zeros(3, 4)
    assert router_z_loss(logits).item() == pytest.approx(math.log(4) ** 2)
    assert router_z_loss(logits - math.log(4)).item() == pytest.approx(0, abs=1e-12)


def test_statistics_tell_even_from_lopsided_load():
    model = Transformer(config(n_dense_layers=1))
    model.layers[1].ffn.router.load.copy_(torch.tensor([2.0, 2, 2, 2]))
    model.layers[2].ffn.router.load.copy_(torch.tensor([4.0, 4, 0, 0]))
    statistics = load_statistics(model)
    assert statistics["expert_load_max"] == pytest.approx(2)
    assert statistics["expert_load_entropy"] == pytest.approx(0.75)
    assert load_statistics(Transformer(config(n_experts=0))) == {}


def test_model_can_be_copied_after_a_training_step():
    model = Transformer(config())
    ids = torch.randint(40, (2, 16))
    model(ids, targets=ids).backward()
    assert copy.deepcopy(model)(ids).shape == (2, 16, 40)


def test_names_are_those_of_the_contract():
    model = Transformer(config(n_shared_experts=1, n_dense_layers=1, balance="bias"))
    names = {name for name in model.state_dict() if "layers.1.ffn." in name}
    projections = ("gate_proj", "up_proj", "down_proj")
    assert {name.removeprefix("layers.1.ffn.") for name in names} == {
        "router.weight",
        "router.bias",
        *(f"experts.{name}.weight" for name in projections),
        *(f"shared_experts.{name}.weight" for name in projections),
    }
    assert model.layers[1].ffn.experts.down_proj.weight.shape == (4, 24, 16)
    assert model.layers[0].ffn.up_proj.weight.shape == (32, 24)


def test_autocast_runs_experts_in_its_dtype():
    layer = MixtureOfExperts(config(n_shared_experts=1))
    x = torch.randn(2, 8, 24)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.1)


def test_experts_compile_into_one_graph(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # cannot be traced
    try:
        grouped_linear(torch.ones(2, 8), torch.ones(1, 8, 8), torch.tensor([2], dtype=torch.int32))
    except RuntimeError as error:
        pytest.skip(f"grouped_mm does not run here: {error}")
    torch._dynamo.reset()
    model = Transformer(config(n_layers=1, balance="bias", n_shared_experts=1))
    ids = torch.randint(40, (2, 16))
    # The tracer and autograd of the compiler, without its code generator: seconds, not minutes.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    losses, gradients = [], []
    for forward in (model, compiled):
        model.zero_grad()
        losses.append(forward(ids, targets=ids))
        losses[-1].backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)
    assert model.layers[0].ffn.router.load.sum() == 2 * 2 * 32  # both passes
