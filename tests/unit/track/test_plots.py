import json

import pytest
from minillm.train.plots import draw_plots, smooth


def test_smoothing_starts_at_the_first_value():
    assert smooth([4.0, 4.0, 4.0]) == pytest.approx([4.0, 4.0, 4.0])
    assert smooth([1.0, 2.0])[1] == pytest.approx((0.9 * 1 + 2) / 1.9)


def test_plots_are_drawn_and_kept_while_young(tmp_path):
    records = [{"step": 1, "loss": 3.0, "learning_rate": 0.1}, {"step": 1, "val_loss": 3.0}]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "metrics.jsonl").write_text(text)
    draw_plots(tmp_path, max_age_s=0)
    for name in ("loss.png", "lr.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    (tmp_path / "loss.png").write_bytes(b"old")
    draw_plots(tmp_path, max_age_s=60)
    assert (tmp_path / "loss.png").read_bytes() == b"old"


def test_nothing_is_drawn_before_the_first_step(tmp_path):
    draw_plots(tmp_path, max_age_s=0)
    assert list(tmp_path.iterdir()) == []
