"""The verb as a process of its own."""

import subprocess
import sys

import pytest


@pytest.fixture
def start(settings):
    """Starts `minillm pretrain` as a process of its own, with more words for its command line."""

    def start_process(*words, **changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        options = [f"--{name}={value}" for name, value in {**settings, **named}.items()]
        command = [sys.executable, "-m", "minillm.pretrain", *options, *words]
        return subprocess.Popen(command, stdout=-1, stderr=-1, text=True)

    return start_process
