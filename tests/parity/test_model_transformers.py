"""Our model against `transformers`, weight for weight, on random weights.

The rename table stands here on purpose: an independent one from that of any export.
"""

import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import Transformer

transformers = pytest.importorskip("transformers")

RENAMES = {
    "embed_tokens.": "model.embed_tokens.",
    "lm_head.": "lm_head.",
    "norm.": "model.norm.",
    "layers.": "model.layers.",
    ".attention_norm.": ".input_layernorm.",
    ".ffn_norm.": ".post_attention_layernorm.",
    ".attention.": ".self_attn.",
    ".ffn.": ".mlp.",
}

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "attn_implementation": "eager",
}

OURS = {
    "vocab_size": 97,
    "context_length": 64,
    "d_model": 48,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "d_head": 16,
    "d_ff": 80,
    "init_std": 0.1,
}


def renamed(name: str) -> str:
    for ours, theirs in RENAMES.items():
        if ours.startswith(".") or name.startswith(ours):
            name = name.replace(ours, theirs, 1)
    return name


def shaken(model: Transformer) -> Transformer:
    """Moves norms and biases off their initial ones and zeros, where mistakes would hide."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return model.eval()


def stored_by_input(tensor: torch.Tensor) -> torch.Tensor:
    """A matrix as GPT-2 stores it, (d_in, d_out); a bias as it is."""
    return tensor.mT if tensor.ndim == 2 else tensor


def assert_same_logits_loss_and_gradient(ours: Transformer, theirs: torch.nn.Module) -> None:
    ids = torch.randint(97, (2, 33))
    theirs.eval()
    torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=0, atol=1e-5)
    loss = ours(ids[:, :-1], targets=ids[:, 1:])
    their_loss = theirs(ids, labels=ids).loss
    torch.testing.assert_close(loss, their_loss, rtol=1e-6, atol=1e-6)
    loss.backward()
    their_loss.backward()
    # The embedding's gradient has passed through every layer.
    theirs_grad = theirs.get_input_embeddings().weight.grad
    torch.testing.assert_close(ours.embed_tokens.weight.grad, theirs_grad, rtol=1e-4, atol=1e-6)


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_model_matches_llama(tied, biased):
    config = ModelConfig(**OURS, tie_embeddings=tied, attention_bias=biased, ffn_bias=biased)
    ours = shaken(Transformer(config))
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            **SHAPE, tie_word_embeddings=tied, attention_bias=biased, mlp_bias=biased
        )
    )
    state = {renamed(name): weight for name, weight in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert unexpected == []
    assert set(missing) <= {"lm_head.weight"}
    assert_same_logits_loss_and_gradient(ours, theirs)


@pytest.mark.parametrize("tied", [True, False])
def test_model_matches_qwen3(tied):
    config = ModelConfig(**OURS, tie_embeddings=tied, qk_norm=True)
    ours = shaken(Transformer(config))
    theirs = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(**SHAPE, tie_word_embeddings=tied)
    )
    state = {renamed(name): weight for name, weight in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert unexpected == []
    assert set(missing) <= {"lm_head.weight"}
    assert_same_logits_loss_and_gradient(ours, theirs)


def test_model_matches_gpt2():
    config = ModelConfig(
        vocab_size=97,
        context_length=64,
        d_model=48,
        n_layers=3,
        n_heads=4,
        norm="layernorm",
        position="learned",
        ffn="gelu",
        attention_bias=True,
        ffn_bias=True,
        init_std=0.1,
    )
    ours = shaken(Transformer(config))
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=97,
            n_positions=64,
            n_embd=48,
            bos_token_id=0,
            eos_token_id=0,
            n_layer=3,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation="eager",
        )
    )
    weights = ours.state_dict()
    state = {
        "transformer.wte.weight": weights["embed_tokens.weight"],
        "transformer.wpe.weight": weights["embed_positions.weight"],
        "lm_head.weight": weights["embed_tokens.weight"],
    }
    for part in ("weight", "bias"):
        state[f"transformer.ln_f.{part}"] = weights[f"norm.{part}"]
        for layer in range(3):
            theirs_at, ours_at = f"transformer.h.{layer}", f"layers.{layer}"
            qkv = [weights[f"{ours_at}.attention.{name}_proj.{part}"] for name in "qkv"]
            tensors = {
                "ln_1": weights[f"{ours_at}.attention_norm.{part}"],
                "ln_2": weights[f"{ours_at}.ffn_norm.{part}"],
                "attn.c_attn": stored_by_input(torch.cat(qkv)),
                "attn.c_proj": stored_by_input(weights[f"{ours_at}.attention.o_proj.{part}"]),
                "mlp.c_fc": stored_by_input(weights[f"{ours_at}.ffn.up_proj.{part}"]),
                "mlp.c_proj": stored_by_input(weights[f"{ours_at}.ffn.down_proj.{part}"]),
            }
            for name, tensor in tensors.items():
                state[f"{theirs_at}.{name}.{part}"] = tensor
    theirs.load_state_dict(state)
    assert_same_logits_loss_and_gradient(ours, theirs)
