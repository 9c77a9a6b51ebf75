import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import KVCache

CONFIG = ModelConfig(d_model=8, n_heads=2, n_kv_heads=1, n_layers=2)
RING = ModelConfig(d_model=8, n_heads=2, n_kv_heads=1, n_layers=2, windows=(3, 0))


def numbered(first: int, last: int) -> torch.Tensor:
    """Keys that carry their index."""
    return torch.arange(first, last).float().view(1, 1, -1, 1).expand(1, 1, -1, 4)


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


@pytest.mark.parametrize("config", [CONFIG, RING])
def test_full_cache_says_so(config):
    cache = KVCache(config, 1, 2)
    cache.advance(2)
    new = torch.ones(1, 1, 1, 4)
    with pytest.raises(ValueError, match="kv cache is full: 2 of 2 positions used, 1 more asked"):
        cache.write(0, new, new)


def test_ring_takes_the_memory_of_its_window_only():
    cache = KVCache(RING, 1, 100)
    assert [keys.shape[2] for keys in cache.keys] == [3, 100]


def test_latent_cache_holds_the_latent_and_the_shared_key_only():
    config = ModelConfig(d_model=64, n_heads=4, attention="mla", n_layers=1)
    cache = KVCache(config, 2, 10)
    assert cache.keys[0].numel() + cache.values[0].numel() == 2 * 10 * (64 + 8)


@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 1, 3], [2, 2, 5], [9], [3, 3, 1, 1, 1]])
def test_ring_returns_each_index_that_a_new_token_may_see(pieces):
    cache = KVCache(RING, 1, 20)
    for n_new in pieces:
        start, end = cache.length, cache.length + n_new
        expected = cache.key_indices(3, n_new).tolist()
        keys, values = cache.write(0, numbered(start, end), -numbered(start, end))
        cache.advance(n_new)
        assert keys[0, 0, :, 0].tolist() == expected == (-values[0, 0, :, 0]).tolist()
        assert set(range(max(0, start - 2), end)) <= set(expected)


def test_truncated_positions_are_written_over():
    cache = KVCache(CONFIG, 1, 3)
    cache.advance(3)
    cache.truncate(1)
    new = torch.ones(1, 1, 2, 4)
    assert torch.equal(cache.write(0, new, new)[0][:, :, 1:], new)


def test_truncate_refuses_to_grow():
    with pytest.raises(ValueError, match="cannot cut a kv cache of 0 positions to 2"):
        KVCache(CONFIG, 1, 3).truncate(2)


def test_ring_cannot_bring_back_what_it_has_overwritten():
    cache = KVCache(RING, 1, 10)
    cache.advance(3)
    cache.truncate(2)  # nothing is overwritten yet
    cache.advance(3)
    with pytest.raises(ValueError, match="cannot cut a kv cache of 5 positions to 4: a layer keep"):
        cache.truncate(4)
    cache.truncate(0)
    assert cache.length == 0


def test_padding_comes_before_all_else():
    cache = KVCache(CONFIG, 2, 4)
    cache.advance(1)
    with pytest.raises(ValueError, match="cannot pad a kv cache that holds 1 positions"):
        cache.pad(torch.tensor([0, 1]))


def test_no_padding_is_no_starts():
    cache = KVCache(CONFIG, 2, 4)
    cache.pad(torch.tensor([0, 1]))
    assert cache.starts.tolist() == [0, 1]
    cache.pad(torch.tensor([0, 0]))
    assert cache.starts is None


def test_an_emptied_cache_forgets_the_padding():
    cache = KVCache(CONFIG, 2, 4)
    cache.pad(torch.tensor([0, 1]))
    cache.advance(2)
    cache.truncate(0)
    assert cache.starts is None


def test_rows_that_are_kept_close_up():
    config = ModelConfig(n_layers=2, n_heads=1, d_model=8, windows=(0, 4))
    cache = KVCache(config, 4, 6)
    cache.pad(torch.tensor([0, 1, 2, 0]))
    rows = torch.arange(4.0)[:, None, None, None].expand(4, 1, 3, 8)
    for layer in range(2):
        cache.write(layer, rows, 10 * rows)
    cache.advance(3)
    cache.keep([1, 3])
    assert cache.starts.tolist() == [1, 0]
    for layer in range(2):
        keys, values = cache.write(layer, rows[:2, :, :1], rows[:2, :, :1])
        assert keys[:, 0, :3, 0].tolist() == [[1.0] * 3, [3.0] * 3]
        assert values[:, 0, :3, 0].tolist() == [[10.0] * 3, [30.0] * 3]
