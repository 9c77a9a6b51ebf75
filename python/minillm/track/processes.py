"""`run.json`: what it takes to repeat a run, one entry for each process that has worked on it.

A run may be resumed on another machine, with other versions or other settings; so each process
writes down its own, and what it was begun with.
"""

import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minillm.files import named_in_errors, replace_file

NAME = "run.json"


def note_process(folder: Path, **facts: Any) -> None:  # noqa: ANN401  any JSON
    """Adds this process to `run.json`: its command, code and machine, and `facts` of the run."""
    entry = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "commit": _commit(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("minillm", "torch", "numpy")},
        "machine": f"{platform.platform()}, {_cpu_name()}",
        **facts,
    }
    replace_file(folder / NAME, json.dumps([*read_processes(folder), entry], indent=1).encode())


def read_processes(folder: Path) -> list[dict[str, Any]]:
    """The entries, oldest first; none where there is no such file.

    Raises:
        ValueError: Naming the file, if it holds something else.
    """
    if not (folder / NAME).exists():
        return []
    with named_in_errors(folder / NAME):
        entries = json.loads((folder / NAME).read_bytes())
        if not isinstance(entries, list):
            raise ValueError("not a list of processes")
    return entries


def _commit() -> str | None:
    """Commit of the checkout that this code lies in, with `-dirty` where it was changed."""
    checkout = Path(__file__).parents[3]
    # A checkout further up would be that of another project, which has this package installed.
    if not (checkout / ".git").exists() or not (git := shutil.which("git")):
        return None
    command = [git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or None


def _cpu_name() -> str:
    facts = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.+)", facts.read_text() if facts.exists() else "")
    return name[1] if name else platform.processor()
