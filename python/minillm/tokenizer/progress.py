"""Shows how far a long operation of the extension is, and when it will be done.

The extension only counts; a thread here looks ten times a second and draws a bar on stderr. Where
stderr is no terminal, a plain line every few seconds takes its place, so that logs stay readable.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from minillm import _core
from minillm.messages import say

BAR_EVERY_S = 0.1
LINE_EVERY_S = 5.0

_UNITS = {"merge": ("merges", 1.0), "fold": ("million pre-tokens", 1e6)}
_NAMES = {"count": "counting", "fold": "adding up", "merge": "merging", "encode": "encoding"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where one phase of the work stands.

    Attributes:
        phase: Name of the phase, as the extension gives it.
        done: Bytes, pre-tokens or merges.
        total: As `done`, 0 while unknown.
        elapsed_s: Time since the phase began.
    """

    phase: str
    done: int
    total: int
    elapsed_s: float

    def describe(self) -> str:
        """One line: what is done, how fast, and the time left."""
        unit, scale = _UNITS.get(self.phase, ("MB", 1e6))
        done = f"{self.done / scale:,.0f}"
        of_total = f" of {self.total / scale:,.0f}" if self.total else ""
        rate = self.done / max(self.elapsed_s, 1e-3)
        parts = [f"{done}{of_total} {unit}", f"{rate / scale:,.0f} {unit}/s"]
        if self.total and rate:
            parts.append(f"{max(self.total - self.done, 0) / rate:,.0f} s left")
        return ", ".join(parts)


@contextmanager
def drawn(work: _core.Progress, *, quiet: bool) -> Iterator[None]:
    """Draws `work` on stderr as long as the body runs."""
    if quiet:
        yield
        return
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(work, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(work: _core.Progress, stop: threading.Event) -> None:
    # What ends before the first look needs no bar, and does without the 60 ms of its import.
    if stop.wait(BAR_EVERY_S):
        return
    phase, began = "idle", time.monotonic()
    is_terminal = sys.stderr.isatty()
    with _bar() if is_terminal else nullcontext(_line) as draw:
        while not stop.wait(BAR_EVERY_S if is_terminal else LINE_EVERY_S):
            if work.phase != phase:
                phase, began = work.phase, time.monotonic()
            if phase != "idle":
                draw(Snapshot(phase, work.done, work.total, time.monotonic() - began))


@contextmanager
def _bar() -> Iterator[Callable[[Snapshot], None]]:
    from rich.console import Console  # noqa: PLC0415  imported while the work runs
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[text]}"))
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("reading", total=None, text="")

        def draw(now: Snapshot) -> None:
            bar.update(
                task,
                description=_NAMES[now.phase],
                completed=now.done,
                total=now.total or None,
                text=now.describe(),
                refresh=True,
            )

        yield draw


def _line(now: Snapshot) -> None:
    say(f"{_NAMES[now.phase]}: {now.describe()}")
