"""Draws what `encode.py` measured: the rate on each text, on one thread and on all; and memory.

Full marks are warm calls, hollow ones the first call in a new process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEGABYTE = 1e6
# Threads, what is drawn of the rows (the first in full marks), the title.
PANELS: tuple[tuple[int | str, tuple[str, ...], str], ...] = (
    (1, ("warm_s", "first_s"), "1 thread"),
    ("all", ("warm_s", "first_s"), "every core"),
    (1, ("peak_rss_bytes",), "1 thread"),
)
ROOM = 0.6
"""Of the distance between two texts, what the marks of all contenders take."""


def draw(results: Sequence[Path], image: Path) -> None:
    """Writes the plot of result files to `image`; its suffix says in which format."""
    figure, panels = plots.frame(len(PANELS))
    every = [json.loads(path.read_text()) for path in results]
    names = list(dict.fromkeys(name for result in every for name in result["contenders"]))
    for axes, (threads, keys, title) in zip(panels, PANELS, strict=True):
        own = [result for result in every if result["threads"] == threads]
        draw_panel(axes, keys, own, names)
        axes.set_title(title if own else "not measured", fontsize=10)
    plots.save(figure, image)


def draw_panel(
    axes: Axes, keys: Sequence[str], own: Sequence[dict[str, Any]], names: Sequence[str]
) -> None:
    """A group of marks for each text, in it one for each contender."""
    for index, name in enumerate(names):
        there = [(x, result) for x, result in enumerate(own) if name in result["contenders"]]
        shift = ROOM * ((index + 0.5) / len(names) - 0.5)
        for key in keys:
            spreads = [spread(result, name, key) for _, result in there]
            style = {} if key == keys[0] else {"markerfacecolor": "white", "alpha": 0.6}
            if there and key == keys[0]:
                style["label"] = plots.label(name, there[0][1]["contenders"][name])
            x = [x + shift for x, _ in there]
            plots.draw_series(axes, x, spreads, index, linestyle="none", **style)
    axes.set_xticks(range(len(own)), [result["text"] for result in own])
    if keys[0].endswith("_s"):
        axes.set_ylabel("MB/s")
        plots.draw_scale(axes)
    else:
        axes.set_ylabel("peak memory (MB)")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, color="0.9")


def spread(result: dict[str, Any], name: str, key: str) -> plots.Spread:
    """Megabytes, or of a time the rate; the fastest sample is the one of the least time."""
    row = result["contenders"][name][key]
    if not key.endswith("_s"):
        return {which: row[which] / MEGABYTE for which in ("median", "min", "max")}
    n_bytes = result["corpus"]["bytes"] / MEGABYTE
    of = {"median": "median", "min": "max", "max": "min"}
    return {which: n_bytes / row[other] for which, other in of.items()}
