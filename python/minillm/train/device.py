"""Where the arithmetic runs, in which type, and on how many threads."""

import contextlib
import os
from contextlib import AbstractContextManager
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import torch

from minillm._core import peak_memory_bytes
from minillm.config import Config
from minillm.config.devices import DEVICES
from minillm.model import flops_per_token


def choose_device(
    name: Literal["auto", "cpu", "cuda", "mps"], *, number: int | None = None
) -> torch.device:
    """The device of that name; `auto` is CUDA, then Metal, then the CPU.

    Args:
        name: Of the kind.
        number: Which of several GPUs; the present one when absent.

    Raises:
        ValueError: If it was named and this machine does not have it.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    elif not available[name]:
        found = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise ValueError(f"train.device is `{name}`, but PyTorch finds only {found} here")
    return torch.device(name if number is None or name != "cuda" else f"cuda:{number}")


def set_threads(threads: int, *, processes: int = 1) -> int:
    """Sets the number of CPU threads of one operation and returns it; 0 is one per core.

    Cores are shared by `processes` that train together.

    One per core and not per hyper-thread: two threads of one core share the unit that multiplies
    matrices, and only disturb each other. Sums depend on the number of threads in their last bits,
    so a run that is to be repeated exactly needs the same number.
    """
    torch.set_num_threads(threads or max(1, physical_cores() // processes))
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


def usage(device: torch.device, config: Config, *, tokens_per_s: float) -> dict[str, float | str]:
    """What training takes of its device, for the metrics.

    Args:
        device: One of those that train.
        config: Of the run.
        tokens_per_s: That one's share.

    Returns:
        `memory_bytes`: most memory held so far: on CUDA by tensors, else by the process.
        `mfu`: on a GPU of `DEVICES`, the share of its peak that is reached (model FLOPs
            utilization); not of adapters, whose backward pass takes fewer operations than counted.
        `mfu_of`: that peak in words; it is that of bfloat16, whatever the dtype.
    """
    if device.type != "cuda":
        memory_bytes = peak_memory_bytes()
        return {} if memory_bytes is None else {"memory_bytes": memory_bytes}
    used: dict[str, float | str] = {"memory_bytes": torch.cuda.max_memory_allocated(device)}
    flops_per_s = tokens_per_s * flops_per_token(config.model, config.train.seq_len)
    for name, (pattern, peak, *_) in DEVICES.items():
        if fnmatch(torch.cuda.get_device_name(device), pattern) and not config.lora.rank:
            words = f"the {peak / 1e12:.0f} TFLOP/s of {name} in dense bfloat16"
            used |= {"mfu": round(flops_per_s / peak, 4), "mfu_of": words}
    return used


def autocast(
    device: torch.device, dtype: Literal["float32", "bfloat16"]
) -> AbstractContextManager[object]:
    """Runs matrix products in bfloat16 where that was asked for; weights stay float32."""
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
