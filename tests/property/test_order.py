"""The order of a run: each window once an epoch, exact shares, any number of processes."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from minillm._core import Order, Rows
from minillm.data import Batches, TokenFile

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("order")


def counting(folder, n_tokens, name="a"):
    """Ids that count up, so that an id is its own position."""
    np.arange(n_tokens, dtype="<u2").tofile(folder / f"{name}.bin")
    return TokenFile(folder / f"{name}.bin")


@quick
@given(st.data())
def test_each_window_comes_exactly_once_an_epoch(folder, data):
    n_tokens = data.draw(st.integers(2, 200))
    seq_len = data.draw(st.integers(1, min(30, n_tokens - 1)))
    stride = data.draw(st.integers(1, seq_len))
    epoch = data.draw(st.integers(0, 3))
    number = Rows.windows(n_tokens - seq_len, stride).number
    batches = Batches(
        [counting(folder, n_tokens)], seq_len=seq_len, batch_size=number, stride=stride, seed=3
    )
    ids, targets, *_ = batches.batch(epoch)
    starts = np.sort(ids[:, 0].numpy())
    assert np.array_equal(np.diff(starts), np.full(number - 1, stride))
    assert 0 <= starts[0] < stride
    assert starts[-1] + seq_len < n_tokens
    assert starts[0] + n_tokens - starts[-1] - seq_len <= stride + 1, "no more is left out"
    assert torch.equal(targets, ids + 1)


@quick
@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    worlds=st.lists(st.sampled_from([1, 2, 3, 4, 6, 12]), min_size=1, max_size=4),
)
def test_ranks_read_what_one_process_would_and_their_number_may_change(folder, weights, worlds):
    """12 micro-steps a step in all: 12 / world for each rank."""
    sources = [counting(folder, 40 + 9 * i, str(i)) for i in range(len(weights))]
    sizes = {"seq_len": 4, "batch_size": 2, "seed": 1}
    alone = Batches(sources, weights, **sizes)
    for step, world in enumerate(worlds):
        expected = torch.cat([alone.batch(step * 12 + i).ids for i in range(12)])
        ranks = [Batches(sources, weights, rank=r, world=world, **sizes) for r in range(world)]
        each = 12 // world
        found = torch.cat(
            [
                torch.stack([rank.batch(step * each + i).ids for rank in ranks], 1).flatten(0, 1)
                for i in range(each)
            ]
        )
        assert torch.equal(found, expected)


@quick
@given(
    weights=st.lists(st.floats(0.01, 100).map(lambda x: round(x, 2)), min_size=1, max_size=4),
    first=st.integers(0, 1000),
)
def test_prefixes_of_a_mixture_are_within_one_sample_of_their_shares(weights, first):
    exact = [Fraction(str(weight)) for weight in weights]
    order = Order([Rows.windows(50, 3)] * len(weights), weights, 1)
    sources, _ = order.rows(0, 400, 0, 1)
    for source, weight in enumerate(exact):
        counts = np.cumsum(sources == source).tolist()
        share = weight / sum(exact)
        assert all(abs(count - n * share) < 1 for n, count in enumerate(counts, 1))
    taken = [epoch * 17 + rest for epoch, rest in order.epochs(first)]
    assert sum(taken) == first
    assert taken == [(order.rows(0, first, 0, 1)[0] == i).sum() for i in range(len(weights))]


@quick
@given(st.lists(st.integers(2, 30), min_size=1, max_size=3), st.integers(0, 2))
def test_each_source_has_epochs_of_its_own(places, epoch):
    order = Order([Rows.windows(n, 1) for n in places], [1] * len(places), 5)
    n_sources = len(places)
    sources, starts = order.rows(0, n_sources * max(places) * 3, 0, 1)
    for source, n in enumerate(places):
        own = starts[sources == source][epoch * n : (epoch + 1) * n].tolist()
        assume(len(own) == n)
        assert sorted(own) == list(range(n))
