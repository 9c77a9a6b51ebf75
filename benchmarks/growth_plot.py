"""Draws what `train_growth.py` measured: time and memory over text, time over vocabulary.

Both axes are logarithmic, so that proportional growth is a line with slope 1, whatever the factor;
a thin gray line shows that slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What is drawn over what: series, x in the data, its unit, y in the rows, its unit, labels.
PANELS = (
    ("text", "bytes", 1e6, "wall_s", 1.0, "text (MB)", "time (s)"),
    ("text", "bytes", 1e6, "peak_rss_bytes", 1e6, "text (MB)", "peak memory (MB)"),
    ("vocabulary", "vocab_size", 1e3, "wall_s", 1.0, "vocabulary (thousands of ids)", "time (s)"),
)


def draw(result: dict[str, Any], image: Path) -> None:
    """Writes the plot of `result` to `image`; its suffix says in which format."""
    figure, panels = plots.frame(len(PANELS))
    every = result["points"]
    names = list(dict.fromkeys(name for point in every for name in point["contenders"]))
    for axes, panel in zip(panels, PANELS, strict=True):
        own = [point for point in every if point["series"] == panel[0]]
        draw_panel(axes, panel, own, names)
        axes.set_title(title(panel[0], own), fontsize=10)
    plots.save(figure, image)


def title(series: str, own: Sequence[dict[str, Any]]) -> str:
    """What is the same at every point of a series."""
    if not own:
        return "not measured"
    if series == "text":
        return f"vocabulary of {own[0]['vocab_size']:,}"
    return f"{own[0]['bytes'] / 1e6:,.0f} MB of text"


def draw_panel(
    axes: Axes, panel: tuple[Any, ...], own: Sequence[dict[str, Any]], names: Sequence[str]
) -> None:
    """One line for each contender."""
    _, x_key, x_unit, y_key, y_unit, x_label, y_label = panel
    lowest = float("inf")
    for index, name in enumerate(names):
        there = [point for point in own if name in point["contenders"]]
        if not there:
            continue
        numbers = [point["contenders"][name][y_key] for point in there]
        spreads = [{key: row[key] / y_unit for key in ("median", "min", "max")} for row in numbers]
        lowest = min(lowest, *(spread["median"] for spread in spreads))
        x = [point[x_key] / x_unit for point in there]
        label = plots.label(name, there[0]["contenders"][name])
        plots.draw_series(axes, x, spreads, index, label=label)
    axes.set(xlabel=x_label, ylabel=y_label, xscale="log")
    plots.draw_scale(axes)
    if own:
        ticks = sorted({point[x_key] / x_unit for point in own})
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.plot(ticks, [lowest * tick / ticks[0] for tick in ticks], color="0.7", linewidth=0.8)
