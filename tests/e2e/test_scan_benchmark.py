import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scan.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_file_is_refused() -> None:
    done = run()

    assert done.returncode == 2
    assert done.stderr == "error: no file is named, expected at least one text\n"


@pytest.mark.slow  # builds the crate with every optimization
@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs a Rust toolchain")
def test_every_pattern_is_measured_by_every_way(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("It's the 1st of \n\n many \u201cwords\u201d. " * 1000)
    out = tmp_path / "result.json"

    done = run(text, f"--out={out}")

    assert done.returncode == 0, done.stderr
    scans = json.loads(out.read_text())["scans"]
    assert {scan["pattern"] for scan in scans} == {"gpt2", "cl100k", "llama3", "qwen2", "o200k"}
    assert {"scalar", "portable"} <= {scan["path"] for scan in scans}
    assert all(scan["gb_per_s"]["median"] > 0 for scan in scans)
    assert done.stdout.count("text.txt") == 5
