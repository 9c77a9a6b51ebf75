"""What a run shows while it works: a live line on a terminal, plain lines elsewhere.

Only lines that a later reader of a log would want are printed for good; the live line is redrawn
in place and gone at the end.

The time left is that of the steps to come, at the mean speed of this process's steps so far; the
first of them is left out, as it also compiles, allocates and warms up. Validation and samples are
in neither.
"""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class Screen:
    """Prints one run to a console, for the length of a `with` block."""

    def __init__(self, console: Console, *, total_steps: int, first_step: int) -> None:
        self._console = console
        self._total = total_steps
        self._timed_from: tuple[int, float] | None = None
        self._left = ""
        self._live = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task("", total=total_steps, completed=first_step, left="")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Prints text for good, above the live line."""
        say(self._console, text)

    def advance(self, step: int, *, elapsed_s: float) -> None:
        """Moves the live line on after a step.

        Args:
            step: Number of the step that was done.
            elapsed_s: Seconds spent in training steps, counted from anywhere.
        """
        if self._timed_from is None or step <= self._timed_from[0]:  # rewound
            self._timed_from = step, elapsed_s
        else:
            first_step, first_s = self._timed_from
            left_s = (elapsed_s - first_s) / (step - first_step) * (self._total - step)
            self._left = f"{duration(left_s)} left"
        self._live.update(self._task, completed=step, left=self._left)

    def show(self, step: int, *, loss: float, learning_rate: float, tokens_per_s: float) -> None:
        """Shows the numbers of a logged step."""
        numbers = f"loss {loss:.4f}  lr {learning_rate:.2e}  {short(tokens_per_s)} tokens/s"
        self._live.update(self._task, description=numbers)
        if not self._console.is_terminal:
            self.say(f"step {step}/{self._total}  {numbers}  {self._left}".rstrip())


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
