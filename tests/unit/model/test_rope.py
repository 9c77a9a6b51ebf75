import math

import pytest
import torch

from minillm.model import rope_angles, rotate
from minillm.model.rope import Rotation, rope_rotation


def turned(x: torch.Tensor, positions: list[int]) -> torch.Tensor:
    d_head = x.shape[-1]
    angles = rope_angles(torch.tensor(positions), d_head).to(x.dtype)
    return rotate(x, Rotation(angles.cos(), angles.sin()))


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


def test_odd_heads_are_refused():
    with pytest.raises(ValueError, match=r"d_head \(7\) must be even: RoPE turns channels in"):
        rope_angles(torch.arange(3), 7)
