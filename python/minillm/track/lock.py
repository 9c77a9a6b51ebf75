"""One writer per run folder.

Two processes that train into one folder would rotate away one another's checkpoints. The lock is
the system's own, on an open file: it goes with the process, however that ends, so there is never a
stale one to remove by hand.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from minillm.files import named_in_errors

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_NAME = ".lock"


class RunLock:
    """Holds the lock of a run folder for the length of a `with` block."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME

    def __enter__(self) -> Self:
        """Takes the lock.

        Raises:
            ValueError: If another process has it, with that process's number.
        """
        # Never truncated on opening: until we hold the lock the text is the other process's.
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock()
        except OSError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise ValueError(
                f"run folder `{self.path.parent}` is in use by process {holder}"
                "\nhint: wait for it, stop it, or choose another --out-dir"
            ) from error
        with named_in_errors(self.path):
            os.truncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode())
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # closing lets the lock go; the file stays, removing it would race

    @classmethod
    def is_held(cls, folder: Path) -> bool:
        """Whether a process works in `folder` at this moment."""
        lock = cls(folder)
        if not lock.path.exists():
            return False
        with lock.path.open("rb") as file, suppress(OSError):
            lock._file = file.fileno()
            lock._lock()
            return False
        return True

    def _lock(self) -> None:
        if sys.platform == "win32":
            # A byte far behind the text, since Windows forbids reading what is locked.
            os.lseek(self._file, 1 << 20, os.SEEK_SET)
            msvcrt.locking(self._file, msvcrt.LK_NBLCK, 1)
            os.lseek(self._file, 0, os.SEEK_SET)
        else:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
