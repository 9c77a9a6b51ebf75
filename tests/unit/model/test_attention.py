import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import Attention, KVCache, LatentAttention, Mask, build_mask
from minillm.model.rope import rope_frequencies, rope_rotation

SMALL = {"d_model": 24, "n_heads": 4, "d_head": 6}
LATENT = {"attention": "mla", "d_latent_kv": 10, "d_head_rope": 4, "d_head_nope": 6, "d_head_v": 8}
LAYOUTS = {
    "mha": {},
    "gqa": {"n_kv_heads": 2, "qk_norm": True, "attention_bias": True},
    "mqa": {"n_kv_heads": 1},
    "mla": {**LATENT, "attention_bias": True},
    "mla_compressed_queries": {**LATENT, "d_latent_q": 7},
}
layouts = pytest.mark.parametrize("fields", LAYOUTS.values(), ids=LAYOUTS)
backends = pytest.mark.parametrize("backend", ["sdpa", "reference", "flex"])


pytestmark = pytest.mark.usefixtures("flex_without_a_compiler")


def attention(**fields) -> Attention | LatentAttention:
    config = ModelConfig(**{**SMALL, **fields})
    module = (LatentAttention if config.attention == "mla" else Attention)(config, 0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval().requires_grad_(False)


def twin(module, **fields):
    other = attention(**fields)
    other.load_state_dict(module.state_dict())
    return other


def run(module, x, *, documents=None, cache=None, turn=True):
    config = module.config
    length = 0 if cache is None else cache.length
    mask = build_mask(
        x.shape[1],
        window=config.window(0),
        backend=config.attention_backend,
        device=x.device,
        documents=documents,
        cache=cache,
    )
    where = torch.arange(length, length + x.shape[1])[None]
    rotation = rope_rotation(where, rope_frequencies(config.d_rope, theta=1e4), dtype=x.dtype)
    out = module(x, mask, rotation if turn else None, cache)
    if cache is not None:
        cache.advance(x.shape[1])
    return out


@layouts
@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_every_backend_computes_the_written_out_formula(fields, window, packed):
    slow = attention(attention_backend="reference", windows=(window,), **fields)
    x = torch.randn(2, 7, 24)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [5, 5, 2, 2, 2, 2, 3]]) if packed else None
    expected = run(slow, x, documents=documents)
    for backend in ("sdpa", "flex"):
        fast = twin(slow, attention_backend=backend, windows=(window,), **fields)
        actual = run(fast, x, documents=documents)
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@layouts
def test_softcap_bounds_the_scores_alike_in_flex_and_in_the_formula(fields):
    slow = attention(attention_backend="reference", attention_softcap=0.7, **fields)
    x = torch.randn(2, 7, 24)
    fast = twin(slow, attention_backend="flex", attention_softcap=0.7, **fields)
    torch.testing.assert_close(run(fast, x), run(slow, x), rtol=1e-5, atol=1e-5)
    uncapped = twin(slow, attention_backend="reference", **fields)
    assert not torch.allclose(run(slow, x), run(uncapped, x), atol=1e-3)


@layouts
@backends
@pytest.mark.parametrize("window", [0, 3])
def test_cached_pieces_equal_the_whole(fields, backend, window):
    module = attention(attention_backend=backend, windows=(window,), n_layers=1, **fields)
    x = torch.randn(2, 14, 24)
    cache = KVCache(module.config, 2, 14)
    pieces = [run(module, piece, cache=cache) for piece in x.split([2, 1, 5, 1, 1, 1, 3], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), run(module, x), rtol=1e-5, atol=1e-5)


@layouts
@backends
def test_the_future_does_not_reach_the_past(fields, backend):
    module = attention(attention_backend=backend, **fields)
    x = torch.randn(1, 6, 24)
    changed = x.clone()
    changed[:, 4:] += 1
    torch.testing.assert_close(run(module, x)[:, :4], run(module, changed)[:, :4])
    assert not torch.allclose(run(module, x)[:, 4], run(module, changed)[:, 4])


@layouts
def test_window_hides_what_is_further_back(fields):
    module = attention(windows=(3,), **fields)
    x = torch.randn(1, 6, 24)
    changed = x.clone()
    changed[:, 1] += 1
    same = (run(module, x) - run(module, changed)).abs().amax(-1)[0] < 1e-6
    assert same.tolist() == [True, False, False, False, True, True]


def test_window_as_long_as_the_row_is_none():
    module = attention(windows=(6,))
    mask = build_mask(6, window=6, backend="sdpa", device=torch.device("cpu"))
    assert mask == Mask(is_causal=True)
    x = torch.randn(1, 6, 24)
    assert torch.equal(run(module, x), run(twin(module), x))


def test_grouped_heads_equal_repeated_heads():
    grouped = attention(n_kv_heads=2)
    full = attention(n_kv_heads=4)
    state = dict(grouped.state_dict())
    for name in ("k_proj.weight", "v_proj.weight"):
        heads = state[name].unflatten(0, (2, 6))  # G K D
        state[name] = heads.repeat_interleave(2, dim=0).flatten(0, 1)
    full.load_state_dict(state)
    x = torch.randn(1, 5, 24)
    torch.testing.assert_close(run(grouped, x), run(full, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["sdpa", "reference"])
@layouts
def test_attention_dropout_acts_in_training_only(fields, backend):
    module = attention(attention_backend=backend, attention_dropout=0.5, **fields)
    x = torch.randn(1, 6, 24)
    assert torch.equal(run(module, x), run(module, x))
    module.train()
    assert not torch.equal(run(module, x), run(module, x))


def test_qk_norm_bounds_the_scores():
    module = attention(qk_norm=True)
    for norm in (module.q_norm, module.k_norm):
        torch.nn.init.ones_(norm.weight)
    x = torch.randn(1, 6, 24)
    torch.testing.assert_close(run(module, x * 1000) / 1000, run(module, x), rtol=1e-3, atol=1e-3)


@backends
def test_absorbed_latent_attention_equals_the_plain_path(backend):
    module = attention(attention_backend=backend, **LATENT)
    content, place = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 4)
    kept = torch.randn(2, 1, 5, 14)
    mask = build_mask(5, window=0, backend=backend, device=torch.device("cpu"))
    plain = module.attend_plain(content, place, kept, mask)
    absorbed = module.attend_absorbed(content, place, kept, mask)
    torch.testing.assert_close(absorbed, plain, rtol=1e-5, atol=1e-5)


def test_latent_attention_decodes_without_making_keys(monkeypatch):
    module = attention(n_layers=1, **LATENT)
    cache = KVCache(module.config, 1, 12)
    run(module, torch.randn(1, 9, 24), cache=cache)
    monkeypatch.delattr(LatentAttention, "attend_plain")
    run(module, torch.randn(1, 1, 24), cache=cache)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"n_kv_heads": 2}, LATENT])
def test_compiled_flex_attention_equals_the_written_out_formula(fields, monkeypatch):
    monkeypatch.undo()
    shared = {"windows": (3,), "attention_softcap": 0.7, **fields}
    slow = attention(attention_backend="reference", **shared)
    fast = twin(slow, attention_backend="flex", **shared)
    x, documents = torch.randn(2, 7, 24), torch.tensor([[0] * 3 + [1] * 4, [2] * 7])
    expected = run(slow, x, documents=documents)
    actual = run(fast, x, documents=documents)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
