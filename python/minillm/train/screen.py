"""What a run shows while it works: a live line on a terminal, plain lines elsewhere.

Only lines that a later reader of a log would want are printed for good; the live line is redrawn
in place and gone at the end.
"""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Screen:
    """Prints one run to a console, for the length of a `with` block."""

    def __init__(self, console: Console, *, total_steps: int, first_step: int) -> None:
        self._console = console
        self._total = total_steps
        self._first = first_step
        self._started = time.monotonic()
        self._live = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task("", total=total_steps, completed=first_step)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Prints text for good, above the live line."""
        say(self._console, text)

    def advance(self, step: int) -> None:
        """Moves the live line on after a step whose numbers nobody has asked for yet."""
        self._live.update(self._task, completed=step)

    def show(self, step: int, *, loss: float, learning_rate: float, tokens_per_s: float) -> None:
        """Shows the numbers of a logged step."""
        numbers = f"loss {loss:.4f}  lr {learning_rate:.2e}  {short(tokens_per_s)} tokens/s"
        self._live.update(self._task, completed=step, description=numbers)
        if not self._console.is_terminal:
            left = (time.monotonic() - self._started) / (step - self._first) * (self._total - step)
            self.say(f"step {step}/{self._total}  {numbers}  {duration(left)} left")


def say(console: Console, text: str) -> None:
    """Prints text as it is: nothing in it is markup, and long lines stay long."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def short(number: float) -> str:
    """Three digits and a letter: 950, 12.3K, 1.20M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds in words of one letter: 1h02m, 3m05s, 12s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes_left:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
