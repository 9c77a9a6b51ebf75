"""Measures contenders fairly: a fresh process for each sample, interleaved, everything recorded.

A benchmark is one file that asks one question. It names its contenders and, called with
`--worker NAME`, does the job of one of them once; this module starts those processes in turn,
first A B C, then B C A, so that a machine that warms up or slows down hurts all alike, and writes
what they report to `benchmarks/results/`.

A worker measures itself, from the inside, around the job alone: starting Python and importing a
library is not what the question is about (`process_s`, from the outside, has it). Peak memory is
the kernel's high-water mark of the process (VmHWM), which unlike `ru_maxrss` does not start at
the size of the parent. Mapped files count where they are resident.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

RESULTS = Path(__file__).parent / "results"
SEPARATOR = "<|endoftext|>"
MEBIBYTE = 1 << 20

Sample: TypeAlias = dict[str, Any]
"""What one worker measured and found."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Contender:
    """One way to do the job: its name in the results and what its process is told."""

    name: str
    package: str
    """The distribution whose version is recorded."""
    environment: Mapping[str, str] = field(default_factory=dict)


def timed(job: Callable[[], Result]) -> tuple[Result, Sample]:
    """Does the job once; its result, and the time and memory that it took.

    Returns:
        The result, and `wall_s`, `cpu_s` (all threads, user and system), `peak_rss_bytes` (peak of
        the process until now) and `idle_rss_bytes` (peak before the job).
    """
    idle_bytes = peak_rss_bytes()
    cpu_before, started = cpu_seconds(), time.perf_counter()
    result = job()
    wall_s, cpu_s = time.perf_counter() - started, cpu_seconds() - cpu_before
    return result, {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_rss_bytes": peak_rss_bytes(),
        "idle_rss_bytes": idle_bytes,
    }


def cpu_seconds() -> float:
    """User and system time of this process, over all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_rss_bytes() -> int:
    """The most memory that was resident in this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def documents(path: Path) -> Iterator[str]:
    """The pieces of a file between separators, byte for byte, without reading it whole."""
    separator = SEPARATOR.encode()
    open_piece = b""
    with path.open("rb") as file:
        while block := file.read(MEBIBYTE):
            *complete, open_piece = (open_piece + block).split(separator)
            for piece in complete:
                yield piece.decode("utf-8")
    yield open_piece.decode("utf-8")


def answer(sample: Mapping[str, Any], to: Path) -> None:
    """A worker's last act. A file, because some libraries print to stdout."""
    to.write_text(json.dumps(sample))


def measure(
    script: str, contenders: Sequence[Contender], arguments: Sequence[str], *, repeats: int
) -> dict[str, list[Sample]]:
    """Runs each contender `repeats` times, interleaved, each in a process of its own.

    Args:
        script: The benchmark's own file; it is called again as a worker.
        contenders: Who takes part.
        arguments: What every worker is told besides, such as the corpus.
        repeats: Samples per contender.

    Raises:
        RuntimeError: If a worker fails; the message holds the end of what it printed.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats):
        shift = repeat % len(contenders)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            sample = _run_worker(script, contender, arguments)
            samples[contender.name].append(sample)
            line = f"{repeat + 1}/{repeats} {contender.name}: {sample['process_s']:.2f} s"
            print(line, file=sys.stderr)
    return samples


def _run_worker(script: str, contender: Contender, arguments: Sequence[str]) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "sample.json"
        command = [sys.executable, script, *arguments]
        command += ["--worker", contender.name, "--report", str(report)]
        started = time.perf_counter()
        done = subprocess.run(
            command,
            env={**os.environ, **contender.environment},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        process_s = time.perf_counter() - started
        if done.returncode != 0:
            raise RuntimeError(f"{contender.name} exited with {done.returncode}: {done.stderr}")
        sample: Sample = json.loads(report.read_text())
        return {**sample, "process_s": process_s}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and spread of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def machine() -> dict[str, Any]:
    """What the numbers were measured on; nothing that identifies the one machine."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def describe_corpus(path: Path) -> dict[str, Any]:
    """Name, size and hash of the text, so that a result can be repeated."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(MEBIBYTE):
            digest.update(block)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def write_result(
    path: Path,
    question: str,
    contenders: Sequence[Contender],
    samples: Mapping[str, Sequence[Sample]],
    facts: Mapping[str, Any],
) -> None:
    """Writes `path`: the question, the machine, versions, each sample and its median.

    Numbers that end in `_s` or `_bytes` are summarized; everything else that a contender reports
    must be the same in each of its samples.

    Raises:
        ValueError: If a contender gave two different answers.
    """
    rows = {}
    for contender in contenders:
        own = samples[contender.name]
        row: dict[str, Any] = {
            "package": contender.package,
            "version": importlib.metadata.version(contender.package),
        }
        for key in own[0]:
            values = [sample[key] for sample in own]
            if key.endswith(("_s", "_bytes")):
                row[key] = {**summary(values), "samples": values}
            elif any(value != values[0] for value in values):
                raise ValueError(f"{contender.name} gave different answers for {key}: {values}")
            else:
                row[key] = values[0]
        rows[contender.name] = row
    repeats = min(len(own) for own in samples.values())
    result = {
        "question": question,
        "machine": machine(),
        "repeats": repeats,
        **facts,
        "contenders": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def chosen(
    contenders: Sequence[Contender], only: Sequence[str], *, threads: int
) -> list[Contender]:
    """The contenders named in `only` (all, if none is), each told its number of threads.

    Raises:
        ValueError: If a name is unknown.
    """
    known = {contender.name: contender for contender in contenders}
    if unknown := [name for name in only if name not in known]:
        raise ValueError(f"unknown contender `{unknown[0]}`, expected one of {', '.join(known)}")
    # Every library here takes the size of its thread pool from this variable.
    limit = {"RAYON_NUM_THREADS": str(threads)} if threads else {}
    return [
        replace(contender, environment={**contender.environment, **limit})
        for contender in (known[name] for name in only or known)
    ]


def threads() -> int:
    """In a worker: the number of threads it was given; 0 stands for every core."""
    return int(os.environ.get("RAYON_NUM_THREADS", "0"))
