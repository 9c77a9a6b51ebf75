import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import KVCache

CONFIG = ModelConfig(d_model=8, n_heads=2, n_kv_heads=1, n_layers=2)


def test_write_returns_old_and_new_positions():
    cache = KVCache(CONFIG, 1, 4)
    first, second = torch.randn(2, 1, 1, 2, 4)
    cache.write(0, first, first)
    cache.advance(2)
    keys, values = cache.write(0, second, -second)
    assert torch.equal(keys, torch.cat([first, second], 2))
    assert torch.equal(values, torch.cat([first, -second], 2))


def test_layers_do_not_mix():
    cache = KVCache(CONFIG, 1, 4)
    cache.write(0, torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 4))
    assert not cache.keys[1].any()


def test_full_cache_says_so():
    cache = KVCache(CONFIG, 1, 2)
    cache.advance(2)
    new = torch.ones(1, 1, 1, 4)
    with pytest.raises(ValueError, match="kv cache is full: 2 of 2 positions used, 1 more asked"):
        cache.write(0, new, new)


def test_truncated_positions_are_written_over():
    cache = KVCache(CONFIG, 1, 3)
    cache.advance(3)
    cache.truncate(1)
    new = torch.ones(1, 1, 2, 4)
    assert torch.equal(cache.write(0, new, new)[0][:, :, 1:], new)


def test_truncate_refuses_to_grow():
    with pytest.raises(ValueError, match="cannot cut a kv cache of 0 positions to 2"):
        KVCache(CONFIG, 1, 3).truncate(2)
