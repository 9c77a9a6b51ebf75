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
MEASURED = ("_s", "_bytes", "spills")
"""Ends of the names of what may differ from sample to sample."""
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

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
    python: str = sys.executable
    """The interpreter of the environment that holds it."""

    @property
    def version(self) -> str | None:
        """The version of its package; None if that is not installed."""
        code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        done = subprocess.run(
            [self.python, "-c", code, self.package], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None


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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


def timed_command(command: Sequence[str]) -> Sample:
    """Runs another program once, with the clock outside: its start and its end are in the time.

    Its memory is `ru_maxrss`, which here starts at the size of this worker: import nothing large.

    Raises:
        RuntimeError: If the program fails.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"`{command[0]}` exited with {process.returncode}")
    return {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_bytes": usage.ru_maxrss * MAXRSS_UNIT,
    }


def documents(*files: Path) -> Iterator[str]:
    """The pieces of files between separators, byte for byte, without reading a file whole.

    The end of a file ends a document too.
    """
    separator = SEPARATOR.encode()
    for path in files:
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


@dataclass(frozen=True)
class Measured:
    """What came of a run."""

    samples: dict[str, list[Sample]]
    """Of each contender that did the job."""
    failed: dict[str, str]
    """Why the others did not."""


def measure(
    script: str | Path,
    contenders: Sequence[Contender],
    arguments: Sequence[str],
    *,
    repeats: int,
    max_seconds: float = float("inf"),
    timeout_s: float | None = None,
) -> Measured:
    """Runs each contender `repeats` times, interleaved, each in a process of its own.

    A contender that fails takes no further part; what the others did is not lost.

    Args:
        script: The file that is called as a worker, mostly the benchmark's own.
        contenders: Who takes part.
        arguments: What every worker is told besides, such as the corpus.
        repeats: Samples per contender.
        max_seconds: A contender whose samples took this long together gets no more of them. The
            first is never cut short.
        timeout_s: A process that takes longer is ended, and counts as failed.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    failed: dict[str, str] = {}
    for repeat in range(repeats):
        shift = repeat % len(contenders)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            own = samples[contender.name]
            spent_s = sum(sample["process_s"] for sample in own)
            if contender.name in failed or spent_s >= max_seconds:
                continue
            try:
                own.append(_run_worker(str(script), contender, arguments, timeout_s))
            except RuntimeError as error:
                failed[contender.name] = str(error)
                say(f"error: {error}")
                continue
            say(f"{repeat + 1}/{repeats} {contender.name}: {own[-1]['process_s']:.2f} s")
    done = {name: own for name, own in samples.items() if name not in failed}
    return Measured(done, failed)


def unusable(corpus: Sequence[Path]) -> str | None:
    """Why these files cannot be measured on; None if they can."""
    if not corpus:
        return "no text is named"
    return next((f"`{path}` is not a file" for path in corpus if not path.is_file()), None)


def say(line: str) -> None:
    """Prints a line for the one who waits."""
    print(line, file=sys.stderr)


def _run_worker(
    script: str, contender: Contender, arguments: Sequence[str], timeout_s: float | None
) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "sample.json"
        command = [contender.python, script, *arguments]
        command += ["--worker", contender.name, "--report", str(report)]
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **contender.environment},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{contender.name} took longer than {timeout_s} s") from None
        process_s = time.perf_counter() - started
        if done.returncode != 0:
            end = done.stderr.strip().rpartition("\n")[2]  # of a traceback, what it is about
            raise RuntimeError(f"{contender.name} exited with {done.returncode}: {end}")
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


def agree(result: Path, *fields: str) -> bool:
    """Whether all contenders of a result have the same in `fields`; says what differs if not."""
    rows = json.loads(result.read_text())["contenders"]
    answers = {name: tuple(row[field] for field in fields) for name, row in rows.items()}
    if len(set(answers.values())) <= 1:
        return True
    say(f"error: {' and '.join(fields)} differ: {answers}")
    return False


def describe_corpus(*files: Path) -> dict[str, Any]:
    """Names, size and hash of the text, so that a result can be repeated."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(MEBIBYTE):
                digest.update(block)
    return {
        "name": " + ".join(path.name for path in files),
        "bytes": sum(path.stat().st_size for path in files),
        "sha256": digest.hexdigest(),
    }


def rows_of(contenders: Sequence[Contender], measured: Measured) -> dict[str, dict[str, Any]]:
    """Version, every sample and its summary, of each contender that did the job.

    What was measured is summarized. Everything else that a contender reports should be the same in
    each of its samples; if it is not, the row holds the list of all.
    """
    rows = {}
    for contender in contenders:
        own = measured.samples.get(contender.name)
        if not own:
            continue
        row: dict[str, Any] = {
            "package": contender.package,
            "version": contender.version,
        }
        for key in own[0]:
            values = [sample[key] for sample in own]
            if key.endswith(MEASURED):
                row[key] = {**summary(values), "samples": values}
            else:
                row[key] = values if any(value != values[0] for value in values) else values[0]
        rows[contender.name] = row
    return rows


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes what was found, together with the machine that it was found on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")


def write_comparison(
    path: Path,
    question: str,
    contenders: Sequence[Contender],
    measured: Measured,
    facts: Mapping[str, Any],
) -> bool:
    """Writes `path`: the question, the machine, versions, each sample and its median.

    Returns:
        Whether every contender did the job, and gave the same answer each time.
    """
    rows = rows_of(contenders, measured)
    repeats = max((len(own) for own in measured.samples.values()), default=0)
    failed = {"failed": measured.failed} if measured.failed else {}
    result = {"question": question, "repeats": repeats, **facts, **failed, "contenders": rows}
    write_result(path, result)
    unsteady = [
        f"{name} gave different answers for {key}: {values}"
        for name, row in rows.items()
        for key, values in row.items()
        if isinstance(values, list)
    ]
    for line in unsteady:
        say(f"error: {line}")
    return not (measured.failed or unsteady)


def chosen(
    contenders: Sequence[Contender], only: Sequence[str], *, threads: int
) -> list[Contender]:
    """The contenders named in `only` (all, if none is), each told its number of threads.

    Those that are not installed are left out, with a line that says so.

    Raises:
        ValueError: If a name is unknown.
    """
    known = {contender.name: contender for contender in contenders}
    if unknown := [name for name in only if name not in known]:
        raise ValueError(f"unknown contender `{unknown[0]}`, expected one of {', '.join(known)}")
    # Every library here takes the size of its thread pool from this variable.
    limit = {"RAYON_NUM_THREADS": str(threads)} if threads else {}
    present = []
    for contender in (known[name] for name in only or known):
        if contender.version is not None:
            environment = {**contender.environment, **limit}
            present.append(replace(contender, environment=environment))
        else:
            say(f"{contender.name} is left out: the package `{contender.package}` is not installed")
    return present


def threads() -> int:
    """In a worker: the number of threads it was given; 0 stands for every core."""
    return int(os.environ.get("RAYON_NUM_THREADS", "0"))
