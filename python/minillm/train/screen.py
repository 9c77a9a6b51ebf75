"""What a run shows while it works: a live block on a terminal, plain lines elsewhere.

Only lines that a later reader of a log would want are printed for good; the live block is redrawn
in place and gone at the end. With `as_json` the records of the metrics go to stdout, for programs;
what is for people goes to the console in any case, and that is stderr.

The time left is that of the steps to come, at the mean speed of this process's steps so far; the
first of them is left out, as it also compiles, allocates and warms up. Validation and samples are
in neither.
"""

import json
from collections import deque
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress
from rich.text import Text

from minillm.messages import scaled
from minillm.track.metrics import Record
from minillm.track.plots import smooth


class Screen:
    """Prints one run to a console, for the length of a `with` block."""

    def __init__(
        self, console: Console, *, total_steps: int, first_step: int, as_json: bool = False
    ) -> None:
        self._console = console
        self._as_json = as_json
        self._is_live = console.is_terminal and not as_json  # stdout may be the same terminal
        self._total = total_steps
        self._timed_from: tuple[int, float] | None = None
        self._losses: deque[float] = deque(maxlen=50)  # older ones hardly count
        self._left = self._bits = self._numbers = self._sample = ""
        columns = "step {task.completed}/{task.total}", BarColumn(), "{task.fields[left]}"
        self._bar = Progress(*columns)
        self._task = self._bar.add_task("", total=total_steps, completed=first_step, left="")
        self._live = Live(console=console, get_renderable=self._block, transient=True)

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Prints text for good, above the live block."""
        say(self._console, text)

    def advance(self, step: int, *, elapsed_s: float) -> None:
        """Moves the bar on after a step.

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
        self._bar.update(self._task, completed=step, left=self._left)

    def show(self, record: Record) -> None:
        """Shows a record of the metrics, of a step or of a validation."""
        if self._as_json:
            print(json.dumps(record), flush=True)  # noqa: T201  the data of the verb
        if "val_loss" in record:
            bits = record["val_bits_per_byte"]
            self._bits = "" if bits is None else f"  {bits:.4f} bits per byte"
            return
        self._losses.append(record["loss"])
        loss, smoothed = f"loss {record['loss']:.4f}", smooth(self._losses)[-1]
        pace = f"lr {record['learning_rate']:.2e}  {scaled(record['tokens_per_s'])} tokens/s"
        if "mfu" in record:
            pace += f"  MFU {record['mfu']:.1%} of {record['mfu_of']}"
        if self._is_live:
            memory = f"  {scaled(record.get('memory_bytes', 0), 'B')} memory"
            self._numbers = f"{loss}  smoothed {smoothed:.4f}{self._bits}\n{pace}{memory}"
        else:
            self.say(f"step {record['step']}/{self._total}  {loss}  {pace}  {self._left}".rstrip())

    def show_sample(self, step: int, text: str) -> None:
        """Shows what the model writes: its newest lines in the block, all of them in a log."""
        self._sample = "sample: " + "".join(c if c.isprintable() else " " for c in text)
        if not self._is_live:
            self.say(f"step {step}  sample: {text}")

    def _block(self) -> Group:
        lines = f"{self._numbers}\n{self._sample}".strip()
        return Group(self._bar, Text(lines, no_wrap=True, overflow="ellipsis"))


def say(console: Console, text: str) -> None:
    """Prints text as it is: nothing in it is markup, and long lines stay long."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds in words of one letter: 1h02m, 3m05s, 12s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes_left:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
