"""Mixture of experts against `transformers`: Qwen3-MoE whole, DeepSeek-V3's layer.

The rename table stands here on purpose: an independent one from that of any export.
"""

import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import MixtureOfExperts, Transformer
from minillm.optim import AdamW

transformers = pytest.importorskip("transformers")

OURS = {
    "vocab_size": 97,
    "context_length": 64,
    "d_model": 48,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "d_head": 16,
    "d_ff": 80,
    "d_expert": 40,
    "n_experts": 8,
    "n_experts_per_token": 3,
    "norm_eps": 1e-5,
    "qk_norm": True,
    "tie_embeddings": False,
    "init_std": 0.1,
}

BALANCE_RATE = 0.2
"""Far above any used in training, so that a mistake in the auxiliary loss shows in the sum."""


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def qwen3_moe(*, normalize: bool = True, dense: int = 0) -> torch.nn.Module:
    return transformers.Qwen3MoeForCausalLM(
        transformers.Qwen3MoeConfig(
            vocab_size=97,
            hidden_size=48,
            intermediate_size=80,
            moe_intermediate_size=40,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=64,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            num_experts=8,
            num_experts_per_tok=3,
            norm_topk_prob=normalize,
            mlp_only_layers=list(range(dense)),
            router_aux_loss_coef=0.0,
            tie_word_embeddings=False,
            attn_implementation="eager",
        )
    )


RENAMES = {
    ".attention_norm.": ".input_layernorm.",
    ".ffn_norm.": ".post_attention_layernorm.",
    ".attention.": ".self_attn.",
    ".ffn.router.": ".mlp.gate.",
    ".ffn.": ".mlp.",
}


def renamed(name: str) -> str:
    for ours, theirs in RENAMES.items():
        name = name.replace(ours, theirs)
    return name if name.startswith("lm_head") else f"model.{name}"


def joined(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our tensors under their names: gate and up of the experts are one tensor there."""
    tensors = dict(state)
    for gate in [name for name in state if name.endswith("experts.gate_proj.weight")]:
        pair = (tensors.pop(gate), tensors.pop(gate.replace("gate_proj", "up_proj")))
        tensors[gate.replace("gate_proj.weight", "gate_up_proj")] = torch.cat(pair, dim=1)
        down = gate.replace("gate_proj", "down_proj")
        tensors[down.removesuffix(".weight")] = tensors.pop(down)
    return {renamed(name): tensor for name, tensor in tensors.items()}


def pair(
    *, normalize: bool = True, dense: int = 0, **fields
) -> tuple[Transformer, torch.nn.Module]:
    config = ModelConfig(**OURS, n_dense_layers=dense, router_normalize=normalize, **fields)
    ours, theirs = Transformer(config), qwen3_moe(normalize=normalize, dense=dense)
    for parameter in ours.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    theirs.load_state_dict(joined(ours.state_dict()))
    return ours, theirs


def their_loss(theirs: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and their own balance loss, of each layer by itself as ours is."""
    out = theirs(ids, labels=ids, output_router_logits=True)
    balance = transformers.models.qwen3_moe.modeling_qwen3_moe.load_balancing_loss_func
    logits = [layer for layer in out.router_logits if layer is not None]
    losses = [balance((layer,), 8, 3) for layer in logits]
    return out.loss + BALANCE_RATE * sum(losses) / len(losses)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("normalize", "dense"), [(True, 0), (False, 0), (True, 1)])
def test_logits_match_qwen3_moe(normalize, dense):
    ours, theirs = pair(normalize=normalize, dense=dense)
    ids = torch.randint(97, (2, 33))
    torch.testing.assert_close(ours.eval()(ids), theirs.eval()(ids).logits, rtol=0, atol=1e-5)


def test_loss_balance_and_gradients_match_qwen3_moe():
    ours, theirs = pair(dense=1, balance_rate=BALANCE_RATE)
    ids = torch.randint(97, (2, 33))
    targets = ids.roll(-1, dims=1)
    targets[:, -1] = -100
    loss = ours.train()(ids, targets=targets)
    expected = their_loss(theirs.train(), ids)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    loss.backward()
    expected.backward()
    mine, their = joined(gradients(ours)), gradients(theirs)
    assert mine.keys() == their.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, their[name], rtol=1e-4, atol=1e-6, msg=name)


def test_ten_optimizer_steps_track_qwen3_moe():
    ours, theirs = pair(balance_rate=BALANCE_RATE)
    options = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    mine = AdamW(ours.parameters(), **options)
    their = torch.optim.AdamW(theirs.parameters(), **options)
    for _ in range(10):
        ids = torch.randint(97, (2, 33))
        targets = ids.roll(-1, dims=1)
        targets[:, -1] = -100
        loss, expected = ours.train()(ids, targets=targets), their_loss(theirs.train(), ids)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        for optimizer, value in ((mine, loss), (their, expected)):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    weights = dict(theirs.named_parameters())
    for name, weight in joined(dict(ours.named_parameters())).items():
        # Adam divides by the root of a gradient's square: where that is near 0, its rounding shows.
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize("normalize", [True, False])
def test_layer_matches_deepseek_v3_with_bias_and_shared_experts(normalize):
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

    ours = MixtureOfExperts(
        ModelConfig(
            **OURS,
            n_shared_experts=2,
            router_score="sigmoid",
            router_normalize=normalize,
            router_scale=2.5,
            balance="bias",
        )
    ).eval()
    theirs = DeepseekV3MoE(
        transformers.DeepseekV3Config(
            hidden_size=48,
            moe_intermediate_size=40,
            n_routed_experts=8,
            num_experts_per_tok=3,
            n_shared_experts=2,
            n_group=1,
            topk_group=1,
            norm_topk_prob=normalize,
            routed_scaling_factor=2.5,
        )
    )
    # Biases as large as the scores: choice and weights then differ for most tokens.
    ours.router.bias.normal_(std=0.3)
    state = ours.state_dict()
    gate_up = torch.cat(
        (state.pop("experts.gate_proj.weight"), state.pop("experts.up_proj.weight")), dim=1
    )
    renames = {"router.weight": "gate.weight", "router.bias": "gate.e_score_correction_bias"}
    renames["experts.down_proj.weight"] = "experts.down_proj"
    theirs.load_state_dict(
        {renames.get(name, name): tensor for name, tensor in state.items()}
        | {"experts.gate_up_proj": gate_up}
    )
    x = torch.randn(2, 33, 48, requires_grad=True)
    y, expected = ours(x), theirs(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(y)
    (mine,) = torch.autograd.grad((y * weight).sum(), x, retain_graph=True)
    (their,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(mine, their, rtol=1e-4, atol=1e-5)
