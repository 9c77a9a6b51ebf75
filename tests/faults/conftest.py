"""What all fault tests share: how many faults, processes to break, and the report.

pytest -n 0 tests/faults                                          a few of each, as always
pytest -n 0 tests/faults --fault-size full --fault-report docs/faults.md
"""

import json
import mmap
import os
import platform
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ACTIONS = {"none": 0, "kill": 1, "kill half-way": 2, "fail": 3, "fail half-way": 4, "short": 5}
LOG_AT, BOARD_BYTES, SLOT_BYTES = 1024, 1024 + (1 << 20), 64
SLOTS = ("main", "writer", "struck main", "struck writer", "time")
PATIENCE_S = 300.0
"""For what takes a second, on a machine that is busy otherwise."""

ROWS = pytest.StashKey[dict]()
HEAD = (
    "| fault | asked for | injected | where they hit | outcome |\n| --- | ---: | ---: | --- | --- |"
)


def pytest_configure(config):
    config.stash[ROWS] = {}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """As in the children (disk.c): here a power cut is only played."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def amount(request):
    """Picks the number of faults: a few in the test suite, many by hand."""
    is_full = request.config.getoption("--fault-size") == "full"
    return lambda ci, full: full if is_full else ci


@pytest.fixture
def tell(request):
    """Puts a line into the report."""

    def put(fault, *, asked, injected, where, outcome):
        hits = Counter(where).most_common()
        places = ", ".join(f"{place} {count:,}" for place, count in hits)
        row = f"| {fault} | {asked:,} | {injected:,} | {places} | {outcome} |"
        request.config.stash[ROWS][fault] = row

    return put


def pytest_sessionfinish(session):
    report = session.config.getoption("--fault-report")
    rows = session.config.stash[ROWS]
    if not report or not rows:
        return
    before = report.read_text().splitlines() if report.exists() else []
    known = {line.split("|")[1].strip(): line for line in before if line.startswith("| ")}
    kept = {name: row for name, row in known.items() if name not in ("fault", "---")}
    import torch

    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    size = session.config.getoption("--fault-size")
    table = "\n".join((kept | rows).values())
    report.write_text(
        "# Faults, and what became of them\n\n"
        f"Written by `pytest -n 0 tests/faults --fault-size {size} --fault-report {report}` on"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}. Each line"
        " is a test, which fails at the first fault that does not end as promised.\n\n"
        f"{HEAD}\n{table}\n"
    )


class Page:
    """The memory that a child shares with the test: what is to strike it, what it does."""

    def __init__(self, path):
        self.path = path
        with path.open("wb") as file:
            file.truncate(BOARD_BYTES + SLOT_BYTES * len(SLOTS))
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def arm(self, folder, *, target=-1, action="none", error=0, lasting=0):
        name = os.fsencode(folder)
        self.memory[: len(self.memory)] = bytes(len(self.memory))
        head = struct.pack("6iIi", target, ACTIONS[action], error, lasting, 0, 0, 0, 0)
        self.memory[: len(head) + len(name)] = head + name

    @property
    def is_struck(self):
        return struct.unpack_from("6i", self.memory)[5] == 1

    @property
    def calls(self):
        """Kind of each call, path and second path in the folder, and number of an open file."""
        (end,) = struct.unpack_from("I", self.memory, 24)
        lines = self.memory[LOG_AT : LOG_AT + end].decode().split("\n")[:-1]
        return [tuple(line.split("\t")) for line in lines]

    def slot(self, name):
        at = BOARD_BYTES + SLOT_BYTES * SLOTS.index(name)
        return self.memory[at : at + SLOT_BYTES].rstrip(b"\0").decode()

    def phase(self, prefix=""):
        """What the process does, or did when it was struck; a checkpoint is written beside."""
        main, writer = self.slot(f"{prefix}main"), self.slot(f"{prefix}writer")
        beside = f" ({writer} beside)" if writer else ""
        return f"{main or 'between'}{beside}"


@dataclass
class Child:
    """One job."""

    forks: "Forks"
    pid: int
    page: Page
    errors_path: Path

    def is_alive(self):
        self.forks.listen(0)
        return self.pid not in self.forks.ended

    def wait(self, patience_s=PATIENCE_S):
        """How it ended."""
        deadline = time.monotonic() + patience_s
        while self.is_alive():
            assert time.monotonic() < deadline, f"goes on for ever: {self.errors}"
            self.forks.listen(0.05)
        return self.forks.ended[self.pid]

    def kill(self):
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    @property
    def errors(self):
        return self.errors_path.read_text(errors="replace")


class Forks:
    """The process of forks.py, and its children."""

    def __init__(self, folder, library):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if library:
            environment["LD_PRELOAD"] = str(library)
        self.folder, self.ended, self._read, self.started = folder, {}, b"", 0
        self.process = subprocess.Popen(
            [sys.executable, HERE / "forks.py"], stdin=-1, stdout=-1, env=environment, bufsize=0
        )
        self._await("ready")

    def listen(self, patience_s):
        """Takes in what the process says; gives back the lines that tell of no end."""
        output = self.process.stdout
        if select.select([output], [], [], patience_s)[0]:
            more = os.read(output.fileno(), 1 << 16)
            assert more, "forks.py has ended"
            self._read += more
        *lines, self._read = self._read.split(b"\n")
        words = [line.decode().split() for line in lines]
        self.ended |= {int(word[1]): int(word[2]) for word in words if word[0] == "ended"}
        return [word for word in words if word[0] != "ended"]

    def _await(self, first):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for words in self.listen(1):
                assert words[0] == first
                return words
        raise AssertionError("forks.py does not answer")

    def start(self, call, arguments, *, watched=None, signal=None, **strike):
        """Begins a job; calls below `watched` are counted, and struck as `Page.arm` has it."""
        self.started += 1
        page = Page(self.folder / f"page-{self.started % 64}")
        page.arm(watched or "/nowhere", **strike)
        errors = self.folder / f"errors-{self.started % 64}"
        job = {"call": call, "arguments": arguments, "board": str(page.path), "errors": str(errors)}
        if signal:
            job["signal"] = signal
        os.write(self.process.stdin.fileno(), (json.dumps(job) + "\n").encode())
        return Child(self, int(self._await("started")[1]), page, errors)

    def pretrain(self, words, *, arguments=None, **options):
        """Begins `minillm pretrain`."""
        arguments = {"words": words, "plots": False, **(arguments or {})}
        return self.start("pretrain", arguments, **options)


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Processes that can be struck; their calls only where a library can be preloaded."""
    folder = tmp_path_factory.mktemp("forks")
    library, compiler = folder / "disk.so", shutil.which("cc")
    if compiler and sys.platform == "linux":
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "disk.c", "-ldl"]
        subprocess.run(command, check=True)
    forks = Forks(folder, library if library.exists() else None)
    forks.fails_calls = library.exists()
    yield forks
    forks.process.kill()
    forks.process.communicate()


@pytest.fixture
def failing_disk(forks):
    """The same, where calls can be made to fail."""
    if not forks.fails_calls:
        pytest.skip("calls can be made to fail on Linux, with a C compiler")
    return forks


@pytest.fixture(scope="session")
def data(write_data, tmp_path_factory):
    """Data of all runs, which no test may change."""
    return write_data(tmp_path_factory.mktemp("faults") / "data")


@pytest.fixture(scope="session")
def words_of(run_settings, data):
    """The command line of a run in a folder, begun or gone on with."""

    def words(folder, *more, **changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        places = {"data.path": data, "train.out_dir": folder}
        options = [
            f"--{name}={value}" for name, value in {**run_settings, **places, **named}.items()
        ]
        return ["--model", "nano", *options, "--resume", "auto", *more]

    return words


@pytest.fixture(scope="session")
def unbroken(forks, words_of, tmp_path_factory):
    """The folder of a run that nothing happened to, made once for each of its settings."""
    made = {}

    def run(**changes):
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("unbroken") / "run"
            child = forks.pretrain(words_of(folder, **changes))
            assert child.wait() == 0, child.errors
            made[key] = folder
        return made[key]

    return run
