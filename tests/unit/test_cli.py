import signal
import subprocess
import sys

import pytest

from minillm import messages


@pytest.mark.parametrize("main", ["main", "main_bpe"])
def test_ctrl_c_during_imports_ends_quietly(main, tmp_path):
    slow = "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
    (tmp_path / "cyclopts.py").write_text(slow)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += f"from minillm.cli import {main}; {main}()"
    command = [sys.executable, "-c", code]

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()

    assert rest == "error: interrupted\n"
    assert process.returncode == messages.EXIT_INTERRUPTED
