"""Numbers of each family of presets: its initialization, and one training step of each recipe.

A change of numerics that nobody meant shows here first. If one was meant: `pytest tests/golden
--update-golden` writes the files anew, and their diff belongs to the review.
"""

import json
from pathlib import Path

import pytest
import torch

from minillm.config import ModelConfig, OptimConfig, list_presets, load_config
from minillm.model import Transformer, move_biases
from minillm.optim import build_optimizer, clip_grad_norm, set_learning_rate

FOLDER = Path(__file__).parent

SIZES = {
    "vocab_size": 61,
    "context_length": 16,
    "d_model": 32,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 4,
    "d_head": 8,
    "d_ff": 64,
}
"""Small stand-ins of every field that sizes a model; the other fields make its family."""

FAMILIES = {
    "llama": {"tie_embeddings": False},
    "qwen3": {"qk_norm": True},
    "gpt2": {
        "norm": "layernorm",
        "position": "learned",
        "ffn": "gelu",
        "attention_bias": True,
        "ffn_bias": True,
    },
    "learned-swiglu": {"norm": "layernorm", "position": "learned"},
    "experts": {
        "qk_norm": True,
        "n_experts": 4,
        "d_expert": 32,
        "n_shared_experts": 1,
        "n_dense_layers": 1,
    },
    "experts-bias": {
        "n_experts": 4,
        "d_expert": 32,
        "router_score": "sigmoid",
        "balance": "bias",
    },
    "deepseek": {
        "attention": "mla",
        "d_latent_kv": 16,
        "d_latent_q": 24,
        "d_head_rope": 4,
        "d_head_nope": 8,
        "d_head_v": 8,
        "n_experts": 4,
        "d_expert": 32,
        "n_shared_experts": 1,
        "n_dense_layers": 1,
        "router_score": "sigmoid",
        "balance": "bias",
        "tie_embeddings": False,
    },
    "windows": {"windows": (4, 0), "qk_norm": True, "nope_interval": 2},
    "speed": {
        "ffn": "relu2",
        "qk_norm": True,
        "norm_scale": False,
        "embedding_norm": True,
        "x0_skip": True,
        "value_embeddings": True,
        "zero_init_outputs": True,
        "logit_softcap": 15.0,
        "tie_embeddings": False,
    },
}

RECIPES = ("classic", "compat")


def family_of(config: ModelConfig) -> dict:
    """What a configuration is apart from its size."""
    experts = {"d_expert", "n_experts", "n_experts_per_token", "n_dense_layers"}
    latents = {"d_latent_kv", "d_latent_q", "d_head_rope", "d_head_nope", "d_head_v"}
    sizes = {*SIZES, *experts, *latents, "depth", "rope_theta", "rope_original_context"}
    fields = {name: value for name, value in config.model_dump().items() if name not in sizes}
    return {**fields, "has_experts": config.n_experts > 0}


def summary(model: Transformer) -> dict[str, list[float]]:
    """Of each saved tensor its norm and its first number."""
    return {
        name: [tensor.norm().item(), tensor.flatten()[0].item()]
        for name, tensor in model.state_dict().items()
    }


def measure(config: ModelConfig) -> dict:
    """Fresh weights, and loss, gradient norm and weights after one step of each recipe."""
    torch.manual_seed(0)
    result = {"initial": summary(Transformer(config))}
    for recipe in RECIPES:
        optim: OptimConfig = load_config(recipe=recipe).optim
        torch.manual_seed(0)
        model = Transformer(config)
        optimizer = build_optimizer(model, optim)
        ids = torch.randint(61, (4, 17), generator=torch.Generator().manual_seed(0))
        loss = model(ids[:, :-1], targets=ids[:, 1:])
        loss.backward()
        grad_norm = clip_grad_norm(model.parameters(), optim.grad_clip)
        set_learning_rate(optimizer, optim, optim.warmup_steps, 1000)
        optimizer.step()
        move_biases(model)
        result[recipe] = {
            "loss": loss.item(),
            "grad_norm": grad_norm.item(),
            "stepped": summary(model),
        }
    return result


def flattened(value, at: str = "") -> dict[str, float]:
    """Every number under its path, so that a difference names its place."""
    if isinstance(value, float):
        return {at: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for name, item in items for k, v in flattened(item, f"{at}/{name}").items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_family_starts_and_steps_as_recorded(family, update_golden):
    path = FOLDER / f"{family}.json"
    measured = measure(ModelConfig(**SIZES, **FAMILIES[family]))
    if update_golden:
        path.write_text(rounded_json(measured))
    expected = json.loads(path.read_text())
    # Kernels of another CPU sum in another order, and Muon's iteration amplifies that; what
    # anybody would change on purpose or by mistake moves these numbers far more.
    assert flattened(measured) == pytest.approx(flattened(expected), rel=2e-4, abs=2e-6)


def rounded_json(measured: dict) -> str:
    """Seven digits, one tensor a line."""
    text = json.dumps(
        json.loads(json.dumps(measured), parse_float=lambda x: float(f"{float(x):.7g}"))
    )
    return (
        text.replace('], "', '],\n"').replace('}, "', '},\n\n"').replace('": {"', '": {\n"') + "\n"
    )


@pytest.mark.parametrize("preset", list_presets("model"))
def test_every_preset_belongs_to_a_family(preset):
    known = [family_of(ModelConfig(**SIZES, **fields)) for fields in FAMILIES.values()]
    assert family_of(load_config(model=preset).model) in known
