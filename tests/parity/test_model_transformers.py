"""Our model against `transformers`, weight for weight, on random weights.

The rename table stands here on purpose: an independent one from that of any export.
"""

import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import KVCache, Mask, Transformer
from minillm.model.attend import attend
from minillm.optim.adamw import AdamW

transformers = pytest.importorskip("transformers")

RENAMES = {
    "embed_tokens.": "model.embed_tokens.",
    "lm_head.": "lm_head.",
    "norm.": "model.norm.",
    "layers.": "model.layers.",
    ".attention_norm.": ".input_layernorm.",
    ".ffn_norm.": ".post_attention_layernorm.",
    ".attention.kv_a_proj.": ".attention.kv_a_proj_with_mqa.",
    ".attention.q_a_norm.": ".attention.q_a_layernorm.",
    ".attention.kv_a_norm.": ".attention.kv_a_layernorm.",
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


IDS = torch.randint(97, (2, 33), generator=torch.Generator().manual_seed(1))


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
    norms = [
        torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        for model in (ours, theirs)
    ]
    torch.testing.assert_close(*norms, rtol=1e-5, atol=0)
    # The embedding's gradient has passed through every layer.
    theirs_grad = theirs.get_input_embeddings().weight.grad
    torch.testing.assert_close(ours.embed_tokens.weight.grad, theirs_grad, rtol=1e-4, atol=1e-6)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def twin_of(ours: Transformer, family: str, **fields) -> torch.nn.Module:
    """Their model of a Llama-like family, with our weights."""
    config = getattr(transformers, f"{family}Config")(**{**SHAPE, **fields})
    theirs = getattr(transformers, f"{family}ForCausalLM")(config)
    state = {renamed(name): weight for name, weight in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert unexpected == []
    assert set(missing) <= {"lm_head.weight"}
    return theirs.eval()


def our(**fields) -> Transformer:
    return shaken(Transformer(ModelConfig(**{**OURS, **fields})))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_model_matches_llama(tied, biased):
    ours = our(tie_embeddings=tied, attention_bias=biased, ffn_bias=biased)
    theirs = twin_of(
        ours, "Llama", tie_word_embeddings=tied, attention_bias=biased, mlp_bias=biased
    )
    assert_same_logits_loss_and_gradient(ours, theirs)


@pytest.mark.parametrize("tied", [True, False])
def test_model_matches_qwen3(tied):
    ours = our(tie_embeddings=tied, qk_norm=True)
    assert_same_logits_loss_and_gradient(ours, twin_of(ours, "Qwen3", tie_word_embeddings=tied))


@pytest.mark.parametrize(
    ("fields", "rope"),
    [
        ({"rope_scaling": "linear", "rope_scaling_factor": 2.0}, {"factor": 2.0}),
        (
            {"rope_scaling": "yarn", "rope_scaling_factor": 4.0},
            {"factor": 4.0, "original_max_position_embeddings": 16},
        ),
        (
            {"rope_scaling": "llama3", "rope_scaling_factor": 2.0, "rope_original_context": 32},
            {
                "factor": 2.0,
                "original_max_position_embeddings": 32,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
        ),
    ],
    ids=["linear", "yarn", "llama3"],
)
def test_scaled_rope_matches_llama(fields, rope):
    ours = our(**fields)
    parameters = {"rope_type": fields["rope_scaling"], "rope_theta": 10_000.0, **rope}
    theirs = twin_of(ours, "Llama", tie_word_embeddings=True, rope_parameters=parameters)
    assert_same_logits_loss_and_gradient(ours, theirs)
    assert not torch.allclose(our()(IDS), ours(IDS), atol=1e-2)


def test_ntk_scaled_rope_matches_llama():
    """Theirs takes its factor from the length: 33 of 16 tokens and factor 2 are 33 / 8 - 1."""
    ours = our(rope_scaling="ntk", rope_scaling_factor=3.125)
    theirs = twin_of(
        ours,
        "Llama",
        tie_word_embeddings=True,
        max_position_embeddings=16,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0},
    )
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=0, atol=1e-5)


def test_layers_without_rope_match_smollm3():
    ours = our(nope_interval=2)
    theirs = twin_of(
        ours, "SmolLM3", tie_word_embeddings=True, no_rope_layer_interval=2, pad_token_id=None
    )
    assert_same_logits_loss_and_gradient(ours, theirs)


def test_partial_rope_matches_stablelm():
    ours = our(rope_fraction=0.5, norm="layernorm", d_head=12)
    theirs = twin_of(
        ours,
        "StableLm",
        tie_word_embeddings=True,
        head_dim=12,
        layer_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.5,
        },
    )
    assert_same_logits_loss_and_gradient(ours, theirs)


def test_window_matches_mistral():
    ours = our(windows=(5,))
    assert_same_logits_loss_and_gradient(
        ours, twin_of(ours, "Mistral", tie_word_embeddings=True, sliding_window=5)
    )


def test_softcap_matches_gemma2():
    from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

    queries, keys, values = torch.randn(3, 2, 4, 6, 8).unbind()
    allowed = torch.ones(6, 6, dtype=torch.bool).tril().expand(1, 1, 6, 6)
    config = ModelConfig(attention_backend="reference", attention_softcap=1.5)
    mask = Mask(dense=allowed)
    actual = attend(queries, keys, values, mask, config, scale=0.5, training=False)
    module = torch.nn.Module().eval()
    module.num_key_value_groups = 1
    hidden = torch.where(allowed, 0.0, -torch.inf)
    expected, _ = eager_attention_forward(
        module, queries, keys, values, hidden, scaling=0.5, softcap=1.5
    )
    torch.testing.assert_close(actual.transpose(1, 2), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("d_latent_q", [0, 20])
@pytest.mark.parametrize("pairs", ["half", "interleaved"])
@pytest.mark.parametrize("scaling", ["none", "yarn"])
def test_latent_attention_matches_deepseek(d_latent_q, pairs, scaling):
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    if scaling == "yarn":  # DeepSeek-V3's own settings, but for the sizes
        rope |= {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
        rope |= {"beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}
    ours = our(
        attention="mla",
        n_kv_heads=4,
        d_latent_q=d_latent_q,
        d_latent_kv=24,
        d_head_rope=8,
        d_head_nope=12,
        d_head_v=10,
        rope_pairs=pairs,
        rope_scaling=scaling,
        rope_scaling_factor=4.0,
        attention_bias=True,
        norm_eps=1e-6,  # that of the latents' norms there is fixed
    )
    theirs = twin_of(
        ours,
        "DeepseekV3",
        tie_word_embeddings=True,
        num_key_value_heads=4,
        q_lora_rank=d_latent_q or None,
        kv_lora_rank=24,
        qk_rope_head_dim=8,
        head_dim=8,
        qk_nope_head_dim=12,
        v_head_dim=10,
        rope_interleave=pairs == "interleaved",
        rope_parameters=rope,
        attention_bias=True,
        rms_norm_eps=1e-6,
        first_k_dense_replace=3,  # no layer has experts
        num_mtp_layers=0,
    )
    assert_same_logits_loss_and_gradient(ours, theirs)


def test_left_padded_batch_matches_llama():
    ours = our()
    theirs = twin_of(ours, "Llama", tie_word_embeddings=True)
    starts = torch.tensor([0, 5, 11])
    ids = torch.randint(97, (3, 14))
    is_token = torch.arange(14) >= starts[:, None]
    positions = (is_token.cumsum(1) - 1).clamp(min=0)
    expected = theirs(ids, attention_mask=is_token.long(), position_ids=positions).logits
    cache = KVCache(ours.config, 3, 14)
    cache.pad(starts)
    actual = torch.cat([ours(piece, cache=cache) for piece in ids.split([12, 1, 1], 1)], 1)
    torch.testing.assert_close(actual[is_token], expected[is_token], rtol=0, atol=1e-5)


def test_ten_optimizer_steps_track_llama():
    ours = our(qk_norm=False)
    theirs = twin_of(ours, "Llama", tie_word_embeddings=True)
    settings = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    optimizers = [
        AdamW([{"params": list(ours.parameters()), **settings}], betas=(0.9, 0.95), eps=1e-8),
        torch.optim.AdamW(theirs.parameters(), **settings),
    ]
    losses = []
    for _ in range(10):
        ids = torch.randint(97, (4, 17))
        pair = ours(ids[:, :-1], targets=ids[:, 1:]), theirs(ids, labels=ids).loss
        for loss, optimizer in zip(pair, optimizers, strict=True):
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append([loss.item() for loss in pair])
    first, second = torch.tensor(losses).T
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


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
