"""Stopping a run from outside without losing a step.

SIGINT (Ctrl-C) and SIGTERM (a job scheduler, `kill`) only raise a flag; the loop finishes its step,
saves and leaves. A second Ctrl-C does not wait: the old handler is back by then, and a checkpoint
that is cut off half-way is no worse than none.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A flag that signals raise, for the length of a `with` block.

    Outside the main thread Python allows no signal handlers, and the flag is never raised.
    """

    def __init__(self, on_request: Callable[[], None]) -> None:
        """Calls `on_request` once when the first signal arrives: to say that it was heard."""
        self.requested = False
        self._on_request = on_request
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        self._on_request()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
