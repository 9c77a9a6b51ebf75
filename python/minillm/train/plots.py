"""`loss.png` and `lr.png`, drawn from the metrics of a run."""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minillm.checkpoint import replace_file
from minillm.train.metrics import Record, read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHING = 0.9
"""Weight of the past in the line through the noisy loss of single steps."""


def draw_plots(folder: Path, *, max_age_s: float) -> None:
    """Draws both plots of the run in `folder`; nothing before its first line of metrics.

    Plots that are no older than `max_age_s` stay: drawing takes as long as many small steps.
    """
    plot = folder / "loss.png"
    if plot.exists() and time.time() - plot.stat().st_mtime < max_age_s:
        return
    records = read_metrics(folder) if (folder / "metrics.jsonl").exists() else []
    training = [record for record in records if "loss" in record]
    validation = [record for record in records if "val_loss" in record]
    if not training:
        return
    from matplotlib.figure import Figure  # noqa: PLC0415  half a second, at the first save

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps, losses = _column(training, "step"), _column(training, "loss")
    axes.plot(steps, losses, color="C0", alpha=0.3, linewidth=0.8)
    axes.plot(steps, smooth(losses), color="C0", label="training")
    axes.plot(
        _column(validation, "step"), _column(validation, "val_loss"), "o-", color="C1",
        markersize=3, label="validation",
    )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.legend()
    _save(figure, plot)

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, _column(training, "learning_rate"), color="C2")
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    _save(figure, folder / "lr.png")


def smooth(values: Sequence[float]) -> list[float]:
    """Exponential moving average; the early part counts what there is, so it has no bias to 0."""
    smoothed, total, weight = [], 0.0, 0.0
    for value in values:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smoothed.append(total / weight)
    return smoothed


def _column(records: Sequence[Record], name: str) -> list[float]:
    return [record[name] for record in records]


def _save(figure: "Figure", path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    replace_file(path, image.getvalue())
