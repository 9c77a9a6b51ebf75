"""Shows how far a long operation of the extension is, and when it will be done.

The extension counts, and says in a line what it has done; a thread here looks ten times a second
and draws a bar on stderr. Where stderr is no terminal, a plain line every few seconds takes its
place, so that logs stay readable.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from minillm import _core
from minillm.messages import say

BAR_EVERY_S = 0.1
LINE_EVERY_S = 5.0


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
    is_terminal = sys.stderr.isatty()
    with _bar() if is_terminal else nullcontext(_line) as draw:
        while not stop.wait(BAR_EVERY_S if is_terminal else LINE_EVERY_S):
            if work.phase:
                draw(work)


@contextmanager
def _bar() -> Iterator[Callable[[_core.Progress], None]]:
    from rich.console import Console  # noqa: PLC0415  imported while the work runs
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[text]}"))
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("reading", total=None, text="")

        def draw(work: _core.Progress) -> None:
            bar.update(task, completed=work.done, total=work.total or None, text=work.describe())
            bar.update(task, description=work.phase, refresh=True)

        yield draw


def _line(work: _core.Progress) -> None:
    say(f"{work.phase}: {work.describe()}")
