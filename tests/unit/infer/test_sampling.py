import pytest
import torch
from torch import inf, nan, tensor

from minillm.infer import Sampler, keep_top_k, keep_top_p, scale_by_temperature


def kept(logits):
    return logits.isfinite().nonzero().flatten().tolist()


def sampler(**changes):
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0} | changes
    return Sampler(**settings)


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


def test_top_k_comes_before_top_p():
    # Of all four, 0.5 needs two tokens; of the two that top-k leaves, one.
    logits = tensor([0.4, 0.3, 0.2, 0.1]).log()
    chances = sampler(top_k=2, top_p=0.5).probabilities(logits)
    assert chances.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_temperature_comes_before_top_p():
    logits = tensor([0.4, 0.3, 0.3]).log()
    assert sampler(temperature=0.01, top_p=0.9).probabilities(logits).tolist() == [1.0, 0.0, 0.0]


def test_greedy_takes_the_likeliest_and_the_lower_id_of_equals():
    assert sampler(temperature=0.0).draw(tensor([0.0, 2.0, 2.0, 1.0])) == 1


def test_draws_follow_the_distribution():
    chances = tensor([0.5, 0.3, 0.15, 0.05])
    drawn = sampler(seed=1)
    n = 20_000
    counts = torch.zeros(4)
    for _ in range(n):
        counts[drawn.draw(chances.log())] += 1
    # Five standard deviations of each count.
    assert ((counts - n * chances).abs() < 5 * (n * chances * (1 - chances)).sqrt()).all()


def test_draws_repeat_for_a_seed_and_differ_between_seeds():
    logits = torch.zeros(1000)

    def draws(seed):
        stream = sampler(seed=seed)
        return [stream.draw(logits) for _ in range(20)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)


def test_draws_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    sampler().draw(torch.zeros(10))
    assert torch.equal(before, torch.get_rng_state())


def test_bfloat16_logits_are_summed_in_float32():
    chances = sampler().probabilities(torch.zeros(3000, dtype=torch.bfloat16))
    assert chances.dtype == torch.float32
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("bad", [nan, inf])
def test_damaged_logits_are_an_error(bad):
    with pytest.raises(ValueError, match="logits are not finite"):
        sampler(temperature=0.0).draw(tensor([0.0, bad]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": -1.0}, r"temperature \(-1.0\) must be 0 or above"),
        ({"temperature": nan}, r"temperature \(nan\) must be 0 or above"),
        ({"top_k": -1}, r"top_k \(-1\) must be 0 \(all tokens\) or above"),
        ({"top_p": 0.0}, r"top_p \(0.0\) must be above 0 and at most 1"),
        ({"top_p": 1.5}, r"top_p \(1.5\) must be above 0 and at most 1"),
    ],
)
def test_setting_out_of_range_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        sampler(**change)


def test_functions_refuse_what_has_no_meaning():
    logits = torch.zeros(2)
    with pytest.raises(ValueError, match="temperature"):
        scale_by_temperature(logits, 0.0)
    with pytest.raises(ValueError, match="top_k"):
        keep_top_k(logits, 0)
    with pytest.raises(ValueError, match="top_p"):
        keep_top_p(logits, 0.0)
