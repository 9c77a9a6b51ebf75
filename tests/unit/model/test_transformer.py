import itertools
import math

import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import IGNORED, KVCache, Transformer, permute_pairs
from textbook import model as textbook

SMALL = {"vocab_size": 40, "context_length": 12, "d_model": 24, "n_heads": 4, "n_layers": 2}

VARIANTS = {
    "default": {},
    "grouped": {"n_kv_heads": 2, "qk_norm": True},
    "wide_heads": {"d_head": 10, "n_kv_heads": 1},
    "gpt2": {
        "norm": "layernorm",
        "position": "learned",
        "ffn": "gelu",
        "attention_bias": True,
        "ffn_bias": True,
    },
    "nope_relu2_untied": {"position": "nope", "ffn": "relu2", "tie_embeddings": False},
    "windows": {
        "windows": (4, 0),
        "n_kv_heads": 2,
        "attention_softcap": 5.0,
        "attention_backend": "reference",
    },
    "every_second_nope": {
        "nope_interval": 2,
        "rope_fraction": 0.5,
        "d_head": 8,
        "rope_pairs": "interleaved",
    },
    "yarn": {"rope_scaling": "yarn", "rope_scaling_factor": 2.0},
    "latent": {"attention": "mla", "windows": (0, 5)},
    "latent_queries": {
        "attention": "mla",
        "d_latent_q": 10,
        "attention_bias": True,
        "rope_pairs": "interleaved",
    },
    "experts": {"n_experts": 4, "n_shared_experts": 1, "n_dense_layers": 1, "d_expert": 16},
    "biased_experts": {"n_experts": 4, "balance": "bias", "router_score": "sigmoid"},
    "speed": {
        "ffn": "relu2",
        "qk_norm": True,
        "norm_scale": False,
        "embedding_norm": True,
        "x0_skip": True,
        "value_embeddings": True,
        "logit_softcap": 15.0,
        "tie_embeddings": False,
    },
    "biased_swiglu": {"ffn_bias": True, "attention_bias": True, "attention_backend": "reference"},
}


def small(**fields) -> Transformer:
    return Transformer(ModelConfig(**{**SMALL, **fields}))


def sharp(**fields) -> Transformer:
    """Far from its birth, so that what a token sees shows in the logits."""
    model = small(**{"init_std": 0.3, **fields}).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return model


def greedy_without_cache(model: Transformer, ids: list[int], n_new: int) -> list[int]:
    window = list(ids)
    for _ in range(n_new):
        window.append(int(model(torch.tensor([window]))[0, -1].argmax()))
    return window[len(ids) :]


def some_ids(batch=2, length=12) -> torch.Tensor:
    return torch.randint(40, (batch, length))


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_cached_logits_equal_uncached_logits(fields):
    model, ids = small(**fields).eval(), some_ids()
    cache = KVCache(model.config, 2, 12)
    pieces = [model(piece, cache=cache) for piece in ids.split([5, 1, 4, 1, 1], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(ids), rtol=1e-5, atol=1e-5)
    assert cache.length == 12


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_no_logit_depends_on_later_tokens(fields):
    model, ids = small(**fields).eval(), some_ids(1)
    changed = ids.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 40
    torch.testing.assert_close(model(ids)[:, :7], model(changed)[:, :7], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_every_parameter_gets_a_gradient(fields):
    model, ids = small(**fields), some_ids()
    model(ids, targets=some_ids()).backward()
    # A key's bias moves all scores of a query alike, and softmax does not see it.
    without = [
        name
        for name, parameter in model.named_parameters()
        if not (parameter.grad is not None and parameter.grad.any())
        and not name.endswith("k_proj.bias")
    ]
    assert without == []


def test_loss_is_the_cross_entropy_of_the_logits():
    model, ids, targets = small(), some_ids(), some_ids()
    targets[0, :3] = IGNORED
    loss = model(ids, targets=targets)
    torch.testing.assert_close(loss, textbook.cross_entropy(model(ids), targets))


def test_loss_of_nothing_to_predict_is_0_and_moves_nothing():
    model, ids = small(), some_ids()
    loss = model(ids, targets=torch.full_like(ids, IGNORED))
    loss.backward()
    assert loss == 0
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_untrained_model_knows_nothing():
    model = small(tie_embeddings=False)
    loss = model(some_ids(64), targets=some_ids(64)).item()
    assert loss == pytest.approx(math.log(40), abs=0.02)


def test_nope_has_no_sense_of_place_and_rope_has():
    ids = some_ids(1)
    later = torch.arange(12)[None].flip(1)
    for position, is_same in (("nope", True), ("rope", False), ("learned", False)):
        model = small(position=position, init_std=0.5).eval()
        assert torch.equal(model(ids), model(ids, positions=later)) == is_same


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_packed_documents_equal_documents_by_themselves(fields):
    model, ids = sharp(**fields), some_ids(1)
    documents = torch.tensor([[3] * 4 + [1] * 6 + [2] * 2])
    packed = model(ids, documents=documents)
    alone = torch.cat([model(part) for part in ids.split([4, 6, 2], dim=1)], dim=1)
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(packed, model(ids), atol=1e-2)


@pytest.mark.usefixtures("flex_without_a_compiler")
@pytest.mark.parametrize(
    ("variant", "backend"),
    [
        *itertools.product(VARIANTS, ["sdpa", "reference"]),
        *itertools.product(["windows", "latent"], ["flex"]),  # which takes its time step by step
    ],
)
def test_padded_rows_of_a_batch_decode_as_they_would_alone(variant, backend):
    """Greedy, token for token, against a loop without batch or cache."""
    fields = VARIANTS[variant]
    if fields.get("attention_softcap") and backend == "sdpa":
        pytest.skip("sdpa knows no cap")
    model = sharp(**{**fields, "attention_backend": backend})
    prompts = [[7, 3, 9, 1], [5], [2, 8]]
    expected = [greedy_without_cache(model, prompt, 8) for prompt in prompts]
    starts = torch.tensor([0, 3, 2])
    ids = torch.tensor([[0] * (4 - len(prompt)) + prompt for prompt in prompts])
    cache = KVCache(model.config, 3, 12)
    cache.pad(starts)
    drawn = []
    for _ in range(8):
        ids = model(ids, cache=cache)[:, -1:].argmax(-1)
        drawn.append(ids)
    assert torch.cat(drawn, dim=1).tolist() == expected


def test_ids_of_the_padding_do_not_matter():
    model = sharp()
    logits = []
    for padding in (0, 9):
        cache = KVCache(model.config, 1, 12)
        cache.pad(torch.tensor([2]))
        logits.append(model(torch.tensor([[padding, padding, 5, 6]]), cache=cache)[:, 2:])
    assert torch.equal(*logits)


def test_documents_do_not_go_with_a_cache():
    model = small()
    with pytest.raises(ValueError, match="documents do not go with a cache"):
        model(some_ids(), documents=some_ids(), cache=KVCache(model.config, 2, 12))


def test_given_positions_are_taken_as_they_are():
    model = small(position="learned").eval()
    ids = some_ids(1, 6)
    restarted = torch.tensor([[0, 1, 2, 0, 1, 2]])
    assert not torch.allclose(model(ids), model(ids, positions=restarted))
    assert torch.equal(model(ids[:, :3]), model(ids[:, :3], positions=restarted[:, :3]))


@pytest.mark.parametrize("layout", ["gqa", "mla"])
def test_permuted_weights_give_the_same_model_in_the_other_pairing(layout):
    model = sharp(attention=layout, d_head=8, rope_pairs="half")
    other = sharp(attention=layout, d_head=8, rope_pairs="interleaved")
    config = model.config
    state = model.state_dict()
    for name, weight in state.items():
        if layout == "gqa" and name.endswith(("q_proj.weight", "k_proj.weight")):
            state[name] = permute_pairs(weight, to="interleaved", d_head=8, d_rope=8)
        if layout == "mla" and name.endswith("q_proj.weight"):
            state[name] = permute_pairs(
                weight, to="interleaved", d_head=config.d_score, d_rope=4, start=config.d_head_nope
            )
        if name.endswith("kv_a_proj.weight"):  # one "head": the latent, then the shared key
            state[name] = permute_pairs(
                weight, to="interleaved", d_head=len(weight), d_rope=4, start=config.d_latent_kv
            )
    other.load_state_dict(state)
    ids = some_ids()
    torch.testing.assert_close(other(ids), model(ids), rtol=1e-4, atol=1e-5)


def test_tied_head_is_the_embedding():
    assert "lm_head.weight" not in small().state_dict()
    assert "lm_head.weight" in small(tie_embeddings=False).state_dict()
    model = small()
    hidden = model.hidden(some_ids())
    torch.testing.assert_close(model.logits(hidden), hidden @ model.embed_tokens.weight.T)


def test_names_are_those_of_the_contract():
    names = set(small(qk_norm=True, tie_embeddings=False).state_dict())
    layer = [
        "attention_norm.weight",
        *(f"attention.{p}_proj.weight" for p in "qkvo"),
        *(f"attention.{p}_norm.weight" for p in "qk"),
        "ffn_norm.weight",
        *(f"ffn.{p}_proj.weight" for p in ("gate", "up", "down")),
    ]
    in_layers = {f"layers.{n}.{name}" for n, name in itertools.product(range(2), layer)}
    assert names == in_layers | {"embed_tokens.weight", "norm.weight", "lm_head.weight"}


def test_initial_weights_have_the_documented_spread():
    model = Transformer(ModelConfig(n_layers=8, d_model=64, n_heads=2, init_std=0.1))
    weights = dict(model.named_parameters())
    cut_at_three = 0.9866  # standard deviation of a normal cut off at 3 of its own
    for name, weight in weights.items():
        if weight.ndim != 2:
            continue
        expected = (
            0.1 * cut_at_three / (4 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1)
        )
        assert weight.std().item() == pytest.approx(expected, rel=0.05), name
        assert weight.abs().max() <= 0.3, name
    assert torch.equal(weights["norm.weight"], torch.ones(64))


def test_same_seed_draws_the_same_weights():
    torch.manual_seed(3)
    first = small().state_dict()
    torch.manual_seed(3)
    second = small().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_dropout_acts_in_training_only():
    model, ids = small(dropout=0.3), some_ids()
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_sequence_beyond_the_context_is_refused():
    with pytest.raises(ValueError, match=r"sequence of 13 tokens exceeds context_length \(12\)"):
        small()(some_ids(1, 13))
    model = small()
    cache = KVCache(model.config, 1, 20)
    model(some_ids(1, 12), cache=cache)
    with pytest.raises(ValueError, match="sequence of 13 tokens exceeds context_length"):
        model(some_ids(1, 1), cache=cache)


def test_a_model_moved_to_bfloat16_stays_near_its_float32_self():
    model, ids = small(qk_norm=True).eval(), some_ids()
    expected = model(ids)
    torch.testing.assert_close(model.bfloat16()(ids).float(), expected, rtol=0.05, atol=0.05)


def test_autocast_runs_and_returns_a_float32_loss():
    model = small(qk_norm=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(some_ids(), targets=some_ids())
    assert loss.dtype == torch.float32
    loss.backward()
