import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import Attention, KVCache
from minillm.model.rope import rope_rotation

SMALL = {"d_model": 24, "n_heads": 4, "d_head": 6}


def attention(**fields) -> Attention:
    module = Attention(ModelConfig(**{**SMALL, **fields}), 0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


def twin(module: Attention, **fields) -> Attention:
    other = attention(**fields)
    other.load_state_dict(module.state_dict())
    return other


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_written_out_attention_equals_sdpa(n_kv_heads, qk_norm):
    fields = {"n_kv_heads": n_kv_heads, "qk_norm": qk_norm, "attention_bias": True}
    fast = attention(attention="sdpa", **fields)
    slow = twin(fast, attention="reference", **fields)
    x = torch.randn(2, 7, 24)
    rotation = rope_rotation(torch.arange(7)[None], 6, theta=1e4, dtype=torch.float32)
    torch.testing.assert_close(fast(x, rotation), slow(x, rotation), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "reference"])
def test_cached_pieces_equal_the_whole(implementation):
    module = attention(attention=implementation, n_kv_heads=2)
    x = torch.randn(2, 9, 24)
    cache = KVCache(ModelConfig(n_kv_heads=2, n_layers=1, **SMALL), 2, 9)
    pieces = []
    for piece in x.split([4, 1, 3, 1], dim=1):
        pieces.append(module(piece, cache=cache))
        cache.advance(piece.shape[1])
    torch.testing.assert_close(torch.cat(pieces, 1), module(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "reference"])
def test_the_future_does_not_reach_the_past(implementation):
    module = attention(attention=implementation)
    x = torch.randn(1, 6, 24)
    changed = x.clone()
    changed[:, 4:] += 1
    assert torch.equal(module(x)[:, :4], module(changed)[:, :4])
    assert not torch.equal(module(x)[:, 4], module(changed)[:, 4])


def test_grouped_heads_equal_repeated_heads():
    grouped = attention(n_kv_heads=2)
    full = attention(n_kv_heads=4)
    state = dict(grouped.state_dict())
    for name in ("k_proj.weight", "v_proj.weight"):
        heads = state[name].unflatten(0, (2, 6))  # G K D
        state[name] = heads.repeat_interleave(2, dim=0).flatten(0, 1)
    full.load_state_dict(state)
    x = torch.randn(1, 5, 24)
    torch.testing.assert_close(grouped(x), full(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "reference"])
def test_attention_dropout_acts_in_training_only(implementation):
    module = attention(attention=implementation, attention_dropout=0.5)
    x = torch.randn(1, 6, 24)
    assert torch.equal(module(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))


def test_qk_norm_bounds_the_scores():
    module = attention(qk_norm=True)
    for norm in (module.q_norm, module.k_norm):
        torch.nn.init.ones_(norm.weight)
    x = torch.randn(1, 6, 24)
    torch.testing.assert_close(module(x * 1000) / 1000, module(x), rtol=1e-3, atol=1e-3)
