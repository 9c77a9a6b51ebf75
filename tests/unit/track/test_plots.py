import pytest

from minillm.track.plots import draw_overlay, draw_plots, smooth

RECORDS = [
    {"step": 1, "loss": 3.0, "learning_rate": 0.1},
    {"step": 1, "val_loss": 3.0},
    {"step": 2, "loss": 2.0, "learning_rate": 0.1},
]
PNG = b"\x89PNG"


def test_smoothing_starts_at_the_first_value():
    assert smooth([4.0, 4.0, 4.0]) == pytest.approx([4.0, 4.0, 4.0])
    assert smooth([1.0, 2.0])[1] == pytest.approx((0.9 * 1 + 2) / 1.9)


def test_both_plots_are_drawn(tmp_path):
    draw_plots(tmp_path, RECORDS)
    for name in ("loss.png", "lr.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_losses_of_runs_of_any_name_and_length_are_drawn_together(tmp_path):
    draw_overlay(tmp_path / "all.png", {"a": RECORDS, r"b $\frac": RECORDS[:1], "begun": []})
    assert (tmp_path / "all.png").read_bytes().startswith(PNG)
