"""`loss.png` and `lr.png`, drawn from the metrics of a run, and many losses in one picture."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minillm.files import replace_file
from minillm.track.metrics import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Style = dict[str, Any]
"""How matplotlib is to draw a line."""

SMOOTHING = 0.9
"""Weight of the past in the line through the noisy loss of single steps."""


def draw_plots(folder: Path, records: Sequence[Record]) -> None:
    """Draws both plots of the run in `folder`."""
    figure, axes = _new_figure("loss (nats per token)")
    training = {"color": "C0", "label": "training"}
    _draw_losses(axes, records, training, {"color": "C1", "label": "validation"})
    axes.legend()
    _save(figure, folder / "loss.png")

    figure, axes = _new_figure("learning rate")
    axes.plot(*_curve(records, "learning_rate"), color="C2")
    axes.set(ylim=(0, None))
    _save(figure, folder / "lr.png")


def draw_overlay(path: Path, runs: Mapping[str, Sequence[Record]]) -> None:
    """Draws the losses of many runs, by their names, over one another; validation is dotted."""
    figure, axes = _new_figure("loss (nats per token)")
    for index, (name, records) in enumerate(runs.items()):
        color = {"color": f"C{index}"}  # they come again after ten
        label = name.replace("$", r"\$")  # two of them would be a formula
        _draw_losses(axes, records, {**color, "label": label}, color)
    axes.legend(fontsize="small")
    _save(figure, path)


def smooth(values: Iterable[float]) -> list[float]:
    """Exponential moving average; the early part counts what there is, so it has no bias to 0."""
    smoothed, total, weight = [], 0.0, 0.0
    for value in values:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smoothed.append(total / weight)
    return smoothed


def _draw_losses(axes: "Axes", records: Sequence[Record], train: Style, val: Style) -> None:
    steps, losses = _curve(records, "loss")
    axes.plot(steps, losses, color=train["color"], alpha=0.3, linewidth=0.8)
    axes.plot(steps, smooth(losses), **train)
    axes.plot(*_curve(records, "val_loss"), "o-", markersize=3, **val)


def _new_figure(label: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure  # noqa: PLC0415  half a second, at the first save

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="step", ylabel=label)
    return figure, axes


def _curve(records: Sequence[Record], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the records that have one."""
    having = [record for record in records if name in record]
    return [record["step"] for record in having], [record[name] for record in having]


def _save(figure: "Figure", path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    replace_file(path, image.getvalue())
