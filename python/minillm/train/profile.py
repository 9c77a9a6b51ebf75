"""Where the time of training steps goes: a trace to look at, and the costliest operations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import profile, schedule

from minillm.train.data import Say

WARMUP_STEPS = 3
"""Steps left out first: they compile, allocate and tune."""


@contextmanager
def profiled(folder: Path, steps: int, device: torch.device, say: Say) -> Iterator[profile | None]:
    """A profiler for a `with` block, whose `step()` is to be called after each training step.

    Once it has seen enough, it writes a trace for chrome://tracing or Perfetto into `profile/`.

    Args:
        folder: Run folder.
        steps: Steps to record after the warm-up; without any there is no profiler.
        device: By whose time operations are listed.
        say: Told of the operations.
    """
    if not steps:
        yield None
        return

    def report(profiler: profile) -> None:
        trace = folder / "profile" / "trace.json.gz"
        trace.parent.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(trace))
        say(f"profile of {steps} steps in `{trace}`; the costliest operations, on {device}:")
        # On a GPU each kernel is listed, too; its time is that of the operation which called it.
        events = [event for event in profiler.key_averages() if event.device_type.name == "CPU"]
        own = f"self_{'cpu' if device.type == 'cpu' else 'device'}_time_total"  # microseconds
        costs = [(getattr(e, own), e.count, e.key) for e in events if not e.is_user_annotation]
        total_us = sum(cost_us for cost_us, _, _ in costs) or 1
        for cost_us, count, name in sorted(costs, reverse=True)[:10]:
            say(f"{cost_us / 1e3:10.1f} ms {cost_us / total_us:6.1%} {count:7} x {name}")

    plan = schedule(wait=WARMUP_STEPS - 1, warmup=1, active=steps, repeat=1)
    with profile(schedule=plan, on_trace_ready=report) as profiler:
        yield profiler
