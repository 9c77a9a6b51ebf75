import math

import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import permute_pairs, rope_frequencies, rope_rotation, rotate, scaled_frequencies


def turned(x: torch.Tensor, positions: list[int], *, d_rope=None, pairs="half") -> torch.Tensor:
    frequencies = rope_frequencies(d_rope or x.shape[-1], theta=1e4)
    where = torch.tensor(positions)
    return rotate(x, rope_rotation(where, frequencies, pairs=pairs, dtype=x.dtype))


@pytest.mark.parametrize("pairs", ["half", "interleaved"])
def test_scores_depend_on_distance_only(pairs):
    query, key = torch.randn(2, 1, 1, 8, dtype=torch.float64)
    scores = [
        (turned(query, [start + 7], pairs=pairs) * turned(key, [start], pairs=pairs)).sum().item()
        for start in (0, 3, 250)
    ]
    # The angles are float32 by contract: about 1e-7 of 250 radians.
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-4)


def test_position_0_turns_nothing():
    x = torch.randn(1, 2, 8)
    assert torch.equal(turned(x, [0]), x)


def test_rotation_keeps_lengths():
    x = torch.randn(5, 2, 8)
    torch.testing.assert_close(turned(x, [0, 1, 5, 60, 900]).norm(dim=-1), x.norm(dim=-1))


@pytest.mark.parametrize(("pairs", "partner"), [("half", 5), ("interleaved", 3)])
def test_channel_is_paired_as_documented(pairs, partner):
    x = torch.zeros(1, 1, 8)
    first = 1 if pairs == "half" else 2  # of pair number 1
    x[..., first] = 1.0
    expected = torch.zeros(1, 1, 8)
    angle = 3 * 10_000 ** (-2 / 8)
    expected[..., first], expected[..., partner] = math.cos(angle), math.sin(angle)
    torch.testing.assert_close(turned(x, [3], pairs=pairs), expected)


def test_angles_stay_float32_in_a_bfloat16_model():
    frequencies = rope_frequencies(8, theta=1e4)
    rotation = rope_rotation(torch.arange(1024), frequencies, dtype=torch.bfloat16)
    assert rotation.cos.dtype == torch.bfloat16
    expected = torch.arange(1024).double().cos()
    torch.testing.assert_close(rotation.cos[:, 0].double(), expected, rtol=0, atol=0.005)


@pytest.mark.parametrize("pairs", ["half", "interleaved"])
def test_rotation_is_the_written_out_formula(pairs):
    x, positions = torch.randn(2, 7, 3, 8, dtype=torch.float64), torch.arange(14).view(2, 7)
    frequencies = rope_frequencies(8, theta=1e4)
    angles = positions[:, :, None, None] * frequencies  # B T 1 half
    cos, sin = angles.cos().double(), angles.sin().double()
    a, b = x.chunk(2, dim=-1) if pairs == "half" else (x[..., ::2], x[..., 1::2])
    halves = (a * cos - b * sin, b * cos + a * sin)
    expected = torch.cat(halves, -1) if pairs == "half" else torch.stack(halves, -1).flatten(-2)
    rotation = rope_rotation(positions, frequencies, pairs=pairs, dtype=torch.float64)
    torch.testing.assert_close(rotate(x, rotation), expected, rtol=1e-12, atol=1e-12)


def test_partial_rotation_leaves_the_last_channels_alone():
    x = torch.randn(2, 3, 8)
    expected = torch.cat((turned(x[..., :4], [1, 9]), x[..., 4:]), dim=-1)
    assert torch.equal(turned(x, [1, 9], d_rope=4), expected)


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize(("old", "new"), [("half", "interleaved"), ("interleaved", "half")])
def test_permuted_rows_give_the_same_scores_in_the_other_pairing(old, new, start):
    """Two heads of 8 channels, 4 of which turn."""
    x, where = torch.randn(6, 5), list(range(6))
    weights = torch.randn(2, 16, 5)

    def scores(rows, pairs):
        heads = [(x @ weight.T).unflatten(-1, (2, 8)) for weight in rows]  # T H K
        still = [head[..., :start] for head in heads]
        moved = [turned(head[..., start:], where, d_rope=4, pairs=pairs) for head in heads]
        q, k = (torch.cat(parts, -1).transpose(0, 1) for parts in zip(still, moved, strict=True))
        return q @ k.mT

    permuted = [permute_pairs(w, to=new, d_head=8, d_rope=4, start=start) for w in weights]
    assert not torch.equal(permuted[0], weights[0])
    torch.testing.assert_close(scores(permuted, new), scores(weights, old), rtol=1e-5, atol=1e-5)


def test_permuting_there_and_back_changes_nothing():
    bias = torch.randn(24)
    there = permute_pairs(bias, to="interleaved", d_head=12, d_rope=8)
    assert torch.equal(permute_pairs(there, to="half", d_head=12, d_rope=8), bias)


def test_odd_heads_are_refused():
    with pytest.raises(ValueError, match=r"d_rope \(7\) must be even: RoPE turns channels in"):
        rope_frequencies(7, theta=1e4)


def scaled(scaling, factor=4.0, **fields):
    config = ModelConfig(
        context_length=4096,
        d_model=64,
        n_heads=1,
        rope_scaling=scaling,
        rope_scaling_factor=factor,
        **fields,
    )
    return scaled_frequencies(config) / rope_frequencies(64, theta=1e4)


def test_linear_scaling_slows_every_pair_alike():
    torch.testing.assert_close(scaled("linear"), torch.full((32,), 0.25))


def test_ntk_scaling_leaves_the_fastest_pair_and_slows_the_slowest_by_the_factor():
    ratio = scaled("ntk")
    assert ratio[0] == 1
    torch.testing.assert_close(ratio[-1].item(), 0.25)
    assert (ratio.diff() < 0).all()


@pytest.mark.parametrize(("scaling", "ramp"), [("yarn", (1, 32)), ("llama3", (1, 4))])
def test_pairs_are_stretched_by_how_often_they_turn_in_the_old_context(scaling, ramp):
    ratio = scaled(scaling)
    turns = 1024 * rope_frequencies(64, theta=1e4) / (2 * math.pi)
    margin = 1.4  # yarn rounds the ends of its ramp to whole pairs, each 1.33 times slower
    assert (ratio[turns > ramp[1] * margin] == 1).all()
    torch.testing.assert_close(
        ratio[turns < ramp[0] / margin], torch.full_like(ratio[turns < ramp[0] / margin], 0.25)
    )
    assert (ratio.diff() <= 0).all()
    assert ((ratio > 0.3) & (ratio < 0.9)).any()
