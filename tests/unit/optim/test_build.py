import pytest
import torch
from torch import nn

from minillm.config import OptimConfig
from minillm.optim import SGD, AdamW, Muon, build_optimizer, clip_grad_norm, parameter_role


class Toy(nn.Module):
    """Has a parameter of each role, named as the real model names them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(7, 4)
        self.q_proj = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.lm_head = nn.Linear(4, 7, bias=False)
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def groups_by_role(model: nn.Module, **fields) -> dict:
    optimizer = build_optimizer(model, OptimConfig(**fields))
    return {group["role"]: group for group in optimizer.param_groups}


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", AdamW), ("sgd", SGD), ("muon", Muon), ("normuon", Muon)]
)
def test_name_picks_the_optimizer(name, kind):
    assert isinstance(build_optimizer(Toy(), OptimConfig(name=name)), kind)


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon", "normuon"])
def test_every_trainable_parameter_is_in_the_group_of_its_role(name):
    model = Toy()
    groups = groups_by_role(model, name=name)
    ids = {role: {id(p) for p in group["params"]} for role, group in groups.items()}
    assert ids["matrix"] == {id(model.q_proj.weight)}
    assert ids["table"] == {id(model.embed_tokens.weight), id(model.lm_head.weight)}
    assert ids["vector"] == {id(p) for p in (model.q_proj.bias, *model.norm.parameters())}


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon", "normuon"])
def test_vectors_do_not_decay(name):
    groups = groups_by_role(Toy(), name=name, weight_decay=0.3)
    decay = {role: group["weight_decay"] for role, group in groups.items()}
    assert decay == {"matrix": 0.3, "table": 0.3, "vector": 0.0}


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("layers.0.ffn.experts.gate_proj.weight", (4, 8, 6), "matrix"),
        ("layers.0.ffn.shared_experts.up_proj.weight", (8, 6), "matrix"),
        ("layers.0.ffn.router.weight", (4, 6), "table"),
        ("layers.1.token_values.embed.weight", (9, 6), "table"),
        ("layers.1.token_values.gate.weight", (2, 6), "matrix"),
        ("layers.1.x0_skip.weight", (2,), "vector"),
    ],
)
def test_role_of_what_experts_and_skips_bring(name, shape, role):
    assert parameter_role(name, nn.Parameter(torch.zeros(shape))) == role


def test_muon_gets_matrices_at_its_own_rate():
    groups = groups_by_role(Toy(), name="muon", learning_rate=0.02, adamw_learning_rate=0.003)
    assert {role: (g["update"], g["max_lr"]) for role, g in groups.items()} == {
        "matrix": ("muon", 0.02),
        "table": ("adamw", 0.003),
        "vector": ("adamw", 0.003),
    }


def test_options_reach_the_optimizer():
    groups = groups_by_role(Toy(), betas=(0.7, 0.8), eps=1e-5, learning_rate=0.5)
    assert all(g["betas"] == (0.7, 0.8) and g["eps"] == 1e-5 for g in groups.values())
    assert all(g["lr"] == g["max_lr"] == 0.5 for g in groups.values())


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon", "normuon"])
def test_each_optimizer_lowers_a_loss(name):
    model = Toy()
    optimizer = build_optimizer(model, OptimConfig(name=name, learning_rate=0.02))
    ids = torch.arange(7)
    losses = []
    for _ in range(40):
        logits = model.lm_head(model.norm(model.q_proj(model.embed_tokens(ids))))
        loss = nn.functional.cross_entropy(logits, ids)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def gradients(*values: list[float]) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(len(value))) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor(value)
    return parameters


def test_clip_scales_all_gradients_to_one_norm():
    parameters = gradients([3.0, 0.0], [4.0])
    assert clip_grad_norm(parameters, 1.0) == 5.0
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.8]))


@pytest.mark.parametrize("max_norm", [5.1, float("inf")])
def test_clip_leaves_small_gradients_alone(max_norm):
    parameters = gradients([3.0, 0.0], [4.0])
    assert clip_grad_norm(parameters, max_norm) == 5.0
    assert parameters[0].grad.tolist() == [3.0, 0.0]


def test_clip_of_nothing_is_zero():
    assert clip_grad_norm([nn.Parameter(torch.ones(2))], 1.0) == 0


def test_clip_reports_a_norm_that_is_not_finite():
    assert clip_grad_norm(gradients([float("nan")], [1.0]), 1.0).isnan()


@pytest.mark.parametrize("kind", [AdamW, SGD, Muon])
def test_an_optimizer_does_not_bring_in_the_compiler(kind):
    # PyTorch's own methods are wrapped in what imports it at their first call.
    for method in (kind.add_param_group, kind.zero_grad):
        assert not hasattr(method, "__wrapped__")
