import math

import pytest
import torch

from minillm.model import rope_angles, rope_rotation, rotate


def turned(x: torch.Tensor, positions: list[int]) -> torch.Tensor:
    where = torch.tensor(positions)
    return rotate(x, rope_rotation(where, x.shape[-1], theta=1e4, dtype=x.dtype))


def test_scores_depend_on_distance_only():
    query, key = torch.randn(2, 1, 1, 8, dtype=torch.float64)
    scores = [
        (turned(query, [start + 7]) * turned(key, [start])).sum().item() for start in (0, 3, 250)
    ]
    # The angles are float32 by contract: about 1e-7 of 250 radians.
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-4)


def test_position_0_turns_nothing():
    x = torch.randn(1, 2, 8)
    assert torch.equal(turned(x, [0]), x)


def test_rotation_keeps_lengths():
    x = torch.randn(5, 2, 8)
    torch.testing.assert_close(turned(x, [0, 1, 5, 60, 900]).norm(dim=-1), x.norm(dim=-1))


def test_channel_i_is_paired_with_channel_i_plus_half():
    x = torch.zeros(1, 1, 8)
    x[..., 1] = 1.0
    expected = torch.zeros(1, 1, 8)
    angle = 3 * 10_000 ** (-2 / 8)
    expected[..., 1], expected[..., 5] = math.cos(angle), math.sin(angle)
    torch.testing.assert_close(turned(x, [3]), expected)


def test_angles_stay_float32_in_a_bfloat16_model():
    rotation = rope_rotation(torch.arange(1024), 8, theta=1e4, dtype=torch.bfloat16)
    assert rotation.cos.dtype == torch.bfloat16
    expected = torch.arange(1024).double().cos()
    torch.testing.assert_close(rotation.cos[:, 0].double(), expected, rtol=0, atol=0.005)


def test_rotation_is_the_written_out_formula():
    x, positions = torch.randn(2, 7, 3, 8, dtype=torch.float64), torch.arange(14).view(2, 7)
    rotation = rope_rotation(positions, 8, theta=1e4, dtype=torch.float64)
    angles = rope_angles(positions, 8)[:, :, None].double()  # B T 1 half
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.float().cos().double(), angles.float().sin().double()
    expected = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    torch.testing.assert_close(rotate(x, rotation), expected, rtol=1e-12, atol=1e-12)


def test_odd_heads_are_refused():
    with pytest.raises(ValueError, match=r"d_head \(7\) must be even: RoPE turns channels in"):
        rope_angles(torch.arange(3), 7)
