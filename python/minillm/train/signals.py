"""Stopping a run from outside without losing a step.

SIGINT (Ctrl-C), SIGTERM and SIGUSR1 (`kill`, and schedulers before they end a job) only raise a
flag; the loop finishes its step, saves and leaves. What takes long and changes nothing, such as
compiling, is broken off. A second Ctrl-C does not wait: the old handler is back by then, and a
checkpoint that is cut off half-way is no worse than none.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class BrokenOffError(BaseException):
    """Ends what is under way; no `Exception`, for libraries must not take it for an error."""


class StopRequest:
    """A flag that signals raise, for the length of a `with` block.

    Outside the main thread Python allows no signal handlers, and the flag is never raised.
    """

    def __init__(self, on_request: Callable[[], None]) -> None:
        """Calls `on_request` once when the first signal arrives: to say that it was heard."""
        self.requested = False
        self._on_request = on_request
        self._breaks_off = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """A block that a signal ends at once; what it has begun must count for nothing."""
        self._breaks_off = True
        try:
            yield
        except BrokenOffError:
            pass
        finally:
            self._breaks_off = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        self._on_request()
        if self._breaks_off:
            raise BrokenOffError

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
