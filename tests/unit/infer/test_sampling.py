import math
import random

import pytest
import torch
from torch import inf, nan, tensor

from minillm.config import SampleConfig
from minillm.infer.sampling import (
    Sampler,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_probabilities,
    penalize_repetition,
    scale_by_temperature,
)


def kept(logits):
    return logits.isfinite().nonzero().flatten().tolist()


def sampler(vocab_size, *, prompts=((),), seeds=(0,), absent=(), **changes):
    config = SampleConfig(**{"temperature": 1.0} | changes)
    return Sampler(config, prompts, seeds, vocab_size=vocab_size, absent=absent)


def test_temperature_divides_logits_up_to_a_shift():
    logits = tensor([1.0, 2.0, 4.0])
    expected = (logits / 0.5).softmax(-1)
    torch.testing.assert_close(scale_by_temperature(logits, 0.5).softmax(-1), expected)


def test_tiny_temperature_does_not_overflow():
    chances = scale_by_temperature(tensor([1e30, 0.0, -1e30]), 1e-30).softmax(-1)
    assert chances.tolist() == [1.0, 0.0, 0.0]


def test_huge_temperature_is_uniform():
    chances = scale_by_temperature(tensor([5.0, 0.0]), 1e30).softmax(-1)
    assert chances.tolist() == [0.5, 0.5]


def test_top_k_keeps_the_k_largest():
    logits = tensor([0.0, 3.0, 1.0, 2.0])
    assert kept(keep_top_k(logits, 2)) == [1, 3]
    assert keep_top_k(logits, 2)[1] == 3.0


def test_top_k_breaks_ties_by_lower_id():
    assert kept(keep_top_k(torch.zeros(100), 3)) == [0, 1, 2]


def test_top_k_above_vocabulary_keeps_all():
    assert kept(keep_top_k(torch.zeros(4), 9)) == [0, 1, 2, 3]


def test_top_k_of_a_batch_goes_row_by_row():
    logits = tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    assert [kept(row) for row in keep_top_k(logits, 1)] == [[2], [0]]


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.01, [2]), (0.5, [2]), (0.51, [1, 2]), (0.8, [1, 2]), (0.9, [0, 1, 2]), (1.0, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_fewest_that_hold_p(p, expected):
    logits = tensor([0.125, 0.3125, 0.5, 0.0625]).log()
    assert kept(keep_top_p(logits, p)) == expected


def test_top_p_breaks_ties_by_lower_id():
    assert kept(keep_top_p(torch.zeros(8), 0.25)) == [0, 1]


def test_top_p_of_one_keeps_what_rounding_would_lose():
    logits = torch.full((10_000,), -20.0)
    logits[0] = 0.0
    assert len(kept(keep_top_p(logits, 1.0))) == 10_000


def test_top_p_leaves_ruled_out_tokens_out():
    assert kept(keep_top_p(tensor([0.0, -inf, 0.0]), 0.99)) == [0, 2]


def test_min_p_keeps_what_is_at_least_so_many_times_as_likely():
    logits = tensor([0.4, 0.1, 0.3, 0.2]).log()
    assert kept(keep_min_p(logits, 0.4)) == [0, 2, 3]
    assert kept(keep_min_p(logits, 1.0)) == [0]
    assert kept(keep_min_p(logits, 0.0)) == [0, 1, 2, 3]


def test_min_p_goes_row_by_row():
    logits = tensor([[0.9, 0.1], [0.5, 0.5]]).log()
    assert [kept(row) for row in keep_min_p(logits, 0.5)] == [[0], [0, 1]]


def test_penalty_makes_seen_tokens_less_likely_whatever_the_sign():
    logits = tensor([2.0, -2.0, 2.0, -2.0, 0.0])
    seen = tensor([True, True, False, False, True])
    assert penalize_repetition(logits, seen, 2.0).tolist() == [1.0, -4.0, 2.0, -2.0, 0.0]


def test_top_k_comes_before_top_p():
    # Of all four, 0.5 needs two tokens; of the two that top-k leaves, one.
    logits = tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    chances = sampler(4, top_k=2, top_p=0.5).probabilities(logits)
    assert chances.tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_temperature_comes_before_the_truncations():
    logits = tensor([[0.4, 0.3, 0.3]]).log()
    for truncation in ({"top_p": 0.9}, {"min_p": 0.5}):
        chances = sampler(3, temperature=0.01, **truncation).probabilities(logits)
        assert chances.tolist() == [[1.0, 0.0, 0.0]]


def test_bias_is_added_to_the_logits_of_its_ids():
    chances = sampler(3, logit_bias={1: 2.5, 2: -1e9}).probabilities(tensor([[0.0, 1.0, 5.0]]))
    torch.testing.assert_close(chances, tensor([[0.0, 3.5, -inf]]).softmax(-1))


def test_penalty_counts_each_row_s_prompt_and_what_was_drawn():
    drawn = sampler(4, prompts=[[0], [1]], seeds=[0, 0], repetition_penalty=1000.0, temperature=0.0)
    logits = tensor([[4.0, 3.0, 2.0, 1.0]] * 2)
    assert [drawn.draw(logits).tolist() for _ in range(3)] == [[1, 0], [2, 2], [3, 3]]


def test_absent_ids_have_no_probability_whatever_their_logit_and_bias():
    wanted = sampler(
        3, absent=[0, 2], logit_bias={2: 1e9}, repetition_penalty=2.0, prompts=[[0, 1, 2]]
    )
    assert wanted.probabilities(tensor([[9.0, -9.0, 1.0]])).tolist() == [[0.0, 1.0, 0.0]]


def test_greedy_takes_the_likeliest_and_the_lower_id_of_equals():
    greedy = sampler(4, temperature=0.0)
    assert greedy.draw(tensor([[0.0, 2.0, 2.0, 1.0]])).tolist() == [1]
    assert greedy.probabilities(tensor([[0.0, 2.0, 2.0, 1.0]])).tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_draws_follow_the_distribution():
    chances, n = tensor([0.5, 0.3, 0.15, 0.05]), 5000
    drawn = sampler(4, prompts=[()] * 4, seeds=range(4))
    rows = chances.log().expand(4, 4)
    counts = torch.zeros(4)
    for _ in range(n // 4):
        counts += drawn.draw(rows).bincount(minlength=4)
    # Five standard deviations of each count.
    assert ((counts - n * chances).abs() < 5 * (n * chances * (1 - chances)).sqrt()).all()


class Fixed:
    """A stream that is at its end."""

    def __init__(self, number):
        self.random = lambda: number


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_a_stream_draw_no_token_without_probability(number):
    drawn = sampler(60_000)
    drawn._streams = [Fixed(number)]
    for seed in range(20):
        torch.manual_seed(seed)
        logits = torch.randn(1, 60_000)
        logits[:, :100] = logits[:, -100:] = -1e9
        assert 100 <= int(drawn.draw(logits)) < 60_000 - 100


def test_draws_repeat_for_a_seed_and_differ_between_seeds():
    logits = torch.zeros(1, 1000)

    def draws(seed):
        stream = sampler(1000, seeds=[seed])
        return [int(stream.draw(logits)) for _ in range(20)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)


def test_a_row_s_draws_do_not_depend_on_its_company():
    torch.manual_seed(0)
    logits, prompts, seeds = torch.randn(30, 3, 50), [[1], [2, 3], [4]], [7, 8, 9]
    changes = {"top_k": 30, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2}
    batch = sampler(50, prompts=prompts, seeds=seeds, **changes)
    together = torch.stack([batch.draw(step) for step in logits])
    for row in range(3):
        alone = sampler(50, prompts=[prompts[row]], seeds=[seeds[row]], **changes)
        assert [int(alone.draw(step[row : row + 1])) for step in logits] == together[
            :, row
        ].tolist()
    fewer = sampler(50, prompts=prompts, seeds=seeds, **changes)
    assert fewer.draw(logits[0]).tolist() == together[0].tolist()
    fewer.keep([0, 2])
    assert [fewer.draw(step[[0, 2]]).tolist() for step in logits[1:]] == together[
        1:, [0, 2]
    ].tolist()


def test_draws_leave_the_global_generators_alone():
    before, python_before = torch.get_rng_state(), random.getstate()
    sampler(10).draw(torch.zeros(1, 10))
    assert torch.equal(before, torch.get_rng_state())
    assert random.getstate() == python_before


def test_bfloat16_logits_are_summed_in_float32():
    chances = sampler(3000).probabilities(torch.zeros(1, 3000, dtype=torch.bfloat16))
    assert chances.dtype == torch.float32
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-4)


def test_logits_are_left_as_they_are():
    logits = torch.randn(1, 20)
    before = logits.clone()
    changes = {"top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.5}
    sampler(20, prompts=[[1]], logit_bias={3: 1.0}, absent=[2], **changes).draw(logits)
    assert torch.equal(logits, before)


def test_log_probabilities_are_of_the_ids_and_of_the_likeliest():
    logits = tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]).log()
    chosen, top = log_probabilities(logits, tensor([0, 1]), 2)
    assert chosen == pytest.approx([math.log(0.2), math.log(0.3)])
    assert [[token for token, _ in row] for row in top] == [[1, 2], [0, 1]]
    assert [row[0][1] for row in top] == pytest.approx([math.log(0.5), math.log(0.6)])


def test_no_more_likeliest_tokens_than_there_are():
    assert log_probabilities(torch.zeros(1, 2), tensor([0]), 0)[1] == [[]]
    assert len(log_probabilities(torch.zeros(1, 2), tensor([0]), 9)[1][0]) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1.0},
        {"temperature": nan},
        {"temperature": 1e300},
        {"temperature": 1e-50},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": 1e-300},
        {"repetition_penalty": 1e39},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": {1: inf}},
        {"logit_bias": {1: 1e39}},
    ],
)
def test_setting_out_of_range_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SampleConfig(**change)


def test_bias_for_an_id_beyond_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="logit_bias names id 5, vocab_size is 5"):
        sampler(5, logit_bias={4: 1.0, 5: 1.0})


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1e6])
@pytest.mark.parametrize("penalty", [1e-6, 1e6])
@pytest.mark.parametrize("bias", [-9e8, 1e9])
def test_settings_at_their_bounds_give_a_distribution(temperature, penalty, bias):
    logits = tensor([[-1e4, 1e4, 0.0, 1.0]])
    changes = {"temperature": temperature, "repetition_penalty": penalty, "top_p": 0.9}
    drawn = sampler(4, prompts=[[0, 1, 2]], logit_bias={0: bias, 1: bias, 3: -bias}, **changes)
    assert drawn.probabilities(logits).sum().item() == pytest.approx(1.0)
    assert 0 <= int(drawn.draw(logits)) < 4


def test_least_bias_forbids_a_token_that_is_the_only_likely_one():
    chances = sampler(3, logit_bias={0: -1e9, 1: -9e8}, absent=[2])
    assert chances.probabilities(tensor([[1e4, -1e4, 0.0]])).tolist() == [[0.0, 1.0, 0.0]]


def test_settings_that_forbid_every_token_are_refused():
    with pytest.raises(ValueError, match="logit_bias forbids every token, expected one that may"):
        sampler(3, logit_bias={0: -1e9, 1: -1e9}, absent=[2])
