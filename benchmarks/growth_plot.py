"""Draws what `train_growth.py` measured: time and memory over text, time over vocabulary.

Both axes are logarithmic, so that proportional growth is a line with slope 1, whatever the factor;
a thin gray line shows that slope. Bars go from the lowest to the highest sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP*X"
# What is drawn over what: series, x in the data, its unit, y in the rows, its unit, labels.
PANELS = (
    ("text", "bytes", 1e6, "wall_s", 1.0, "text (MB)", "time (s)"),
    ("text", "bytes", 1e6, "peak_rss_bytes", 1e6, "text (MB)", "peak memory (MB)"),
    ("vocabulary", "vocab_size", 1e3, "wall_s", 1.0, "vocabulary (thousands of ids)", "time (s)"),
)


def draw(result: dict[str, Any], image: Path) -> None:
    """Writes the plot of `result` to `image`; its suffix says in which format."""
    from matplotlib.figure import Figure

    # White whatever is around it: dark lines on the background of a dark page would vanish.
    figure = Figure(figsize=(12, 4.2), layout="constrained", facecolor="white")
    every = result["points"]
    names = list(dict.fromkeys(name for point in every for name in point["contenders"]))
    for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        own = [point for point in every if point["series"] == panel[0]]
        draw_panel(axes, panel, own, names)
        axes.set_title(title(panel[0], own), fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False)
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, dpi=150)


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
    from matplotlib.ticker import LogLocator, NullLocator

    _, x_key, x_unit, y_key, y_unit, x_label, y_label = panel
    for index, name in enumerate(names):
        there = [point for point in own if name in point["contenders"]]
        if not there:
            continue
        numbers = [point["contenders"][name][y_key] for point in there]
        middle = [number["median"] / y_unit for number in numbers]
        below = [(number["median"] - number["min"]) / y_unit for number in numbers]
        above = [(number["max"] - number["median"]) / y_unit for number in numbers]
        axes.errorbar(
            [point[x_key] / x_unit for point in there],
            middle,
            yerr=(below, above),
            color=f"C{index}",
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            capsize=2,
            label=label(name, there[0]),
        )
    axes.set(xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
    if own:
        ticks = sorted({point[x_key] / x_unit for point in own})
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        corner = min(
            row[y_key]["median"] / y_unit for point in own for row in point["contenders"].values()
        )
        axes.plot(ticks, [corner * tick / ticks[0] for tick in ticks], color="0.7", linewidth=0.8)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, which="major", color="0.9")


def label(name: str, point: dict[str, Any]) -> str:
    """Rivals with their version."""
    row = point["contenders"][name]
    return name if row["package"] == "minillm" else f"{name} {row['version']}"
