import numpy as np
import pytest
import torch

from minillm.data import Batches, TokenFile, evaluation_windows


@pytest.fixture
def tokens(tmp_path):
    """103 ids that count up, so that an id is its own position."""
    np.arange(103, dtype="<u2").tofile(tmp_path / "a.bin")
    return TokenFile(tmp_path / "a.bin")


def test_targets_are_the_inputs_one_token_later(tokens):
    ids, targets, _ = Batches(tokens, seq_len=8, batch_size=3, seed=0).batch(5)
    assert ids.shape == targets.shape == (3, 8)
    assert ids.dtype == torch.int64
    assert torch.equal(targets, ids + 1)


def test_each_window_comes_once_per_epoch(tokens):
    batches = Batches(tokens, seq_len=10, batch_size=1, seed=0)
    for epoch in range(3):
        first = epoch * batches.windows
        starts = np.sort(batches.starts(first, batches.windows))
        assert np.all(np.diff(starts) == 10)
        assert starts[0] >= 0
        assert starts[-1] + 10 < len(tokens)


def test_epochs_differ_in_order(tokens):
    batches = Batches(tokens, seq_len=4, batch_size=1, seed=0)
    first, second = (batches.starts(epoch * batches.windows, batches.windows) for epoch in (0, 1))
    assert not np.array_equal(first, second)


def test_seed_decides_the_order(tokens):
    orders = {
        tuple(Batches(tokens, seq_len=4, batch_size=1, seed=seed).starts(0, 20)) for seed in (0, 1)
    }
    assert len(orders) == 2


def test_batches_do_not_depend_on_how_samples_are_grouped(tokens):
    """Nor on the epoch's end falling inside a batch: 10 windows an epoch, 4 a batch."""
    single = Batches(tokens, seq_len=10, batch_size=1, seed=3)
    grouped = Batches(tokens, seq_len=10, batch_size=4, seed=3)
    together = torch.cat([grouped.batch(index)[0] for index in range(7)])
    assert torch.equal(together, torch.cat([single.batch(index)[0] for index in range(28)]))


def test_context_longer_than_the_data_is_refused(tokens):
    with pytest.raises(ValueError, match=r"seq_len \(103\) is longer than the data: .* 103 tokens"):
        Batches(tokens, seq_len=103, batch_size=1, seed=0)


@pytest.mark.parametrize("seq_len", [1, 7, 50, 102, 200])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_predicts_every_token_but_the_first_once(tokens, seq_len, batch_size):
    windows = evaluation_windows(tokens, seq_len=seq_len, batch_size=batch_size, max_batches=None)
    targets = torch.cat([target.flatten() for _, target, _ in windows])
    assert targets.tolist() == list(range(1, 103))


def test_short_evaluation_is_spread_over_the_file(tokens):
    windows = evaluation_windows(tokens, seq_len=10, batch_size=2, max_batches=2)
    starts = torch.cat([ids[:, 0] for ids, _, _ in windows])
    assert starts.tolist() == [0, 20, 50, 70]


def test_evaluation_needs_two_tokens(tmp_path):
    np.array([1], dtype="<u2").tofile(tmp_path / "a.bin")
    windows = evaluation_windows(
        TokenFile(tmp_path / "a.bin"), seq_len=4, batch_size=1, max_batches=None
    )
    with pytest.raises(ValueError, match="holds 1 tokens, evaluation needs 2"):
        next(windows)
