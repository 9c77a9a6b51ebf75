"""What the plots of all benchmarks share: frame, colors, error bars, labels.

A contender has one color and one mark in all panels of a plot; bars go from the lowest to the
highest sample. Axes of measured numbers are logarithmic, so that equal factors are equal lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X"
Spread = Mapping[str, float]
"""Median, min and max of one number."""


def frame(n_panels: int) -> tuple[Figure, list[Axes]]:
    """An empty figure with panels side by side."""
    from matplotlib.figure import Figure

    # White whatever is around it: dark lines on the background of a dark page would vanish.
    figure = Figure(figsize=(12, 4.2), layout="constrained", facecolor="white")
    return figure, list(figure.subplots(1, n_panels))


def draw_series(
    axes: Axes, x: Sequence[float], spreads: Sequence[Spread], index: int, **style: object
) -> None:
    """One contender's numbers in one panel; `index` is its place among all."""
    middle = [spread["median"] for spread in spreads]
    below = [spread["median"] - spread["min"] for spread in spreads]
    above = [spread["max"] - spread["median"] for spread in spreads]
    look: dict[str, Any] = {"markersize": 5, "capsize": 2, **style}
    axes.errorbar(
        x, middle, (below, above), color=f"C{index}", marker=MARKERS[index % len(MARKERS)], **look
    )


def draw_scale(axes: Axes) -> None:
    """A logarithmic y axis with round numbers, and a grid."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, which="major", color="0.9")


def save(figure: Figure, image: Path) -> None:
    """Writes the plot, with one legend for all panels; the suffix of `image` says the format."""
    labels: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        labels |= dict(zip(names, handles, strict=True))
    figure.legend(
        labels.values(), labels, loc="outside lower center", ncols=len(labels) or 1, frameon=False
    )
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, dpi=150)


def label(name: str, row: Mapping[str, Any]) -> str:
    """Rivals with their version."""
    return name if row["package"] == "minillm" else f"{name} {row['version']}"
