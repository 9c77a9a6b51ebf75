"""Where the arithmetic runs, in which type, and on how many threads."""

import contextlib
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch


def choose_device(name: Literal["auto", "cpu", "cuda", "mps"]) -> torch.device:
    """The device of that name; `auto` is CUDA, then Metal, then the CPU.

    Raises:
        ValueError: If it was named and this machine does not have it.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, is_there in available.items() if is_there))
    if not available[name]:
        found = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise ValueError(f"train.device is `{name}`, but PyTorch finds only {found} here")
    return torch.device(name)


def set_threads(threads: int) -> int:
    """Sets the number of CPU threads of one operation and returns it; 0 is one per core.

    One per core and not per hyper-thread: two threads of one core share the unit that multiplies
    matrices, and only disturb each other. Sums depend on the number of threads in their last bits,
    so a run that is to be repeated exactly needs the same number.
    """
    torch.set_num_threads(threads or physical_cores())
    return torch.get_num_threads()


def physical_cores() -> int:
    """Cores that this process may use, hyper-threads of one core counted once."""
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else str(cpu))
    return len(cores)


def autocast(
    device: torch.device, dtype: Literal["float32", "bfloat16"]
) -> AbstractContextManager[object]:
    """Runs matrix products in bfloat16 where that was asked for; weights stay float32."""
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
