"""The verb as a process of its own, and runs that several tests look at."""

import functools
import shutil
import subprocess
import sys

import pytest

from minillm import pretrain
from minillm.config import load_config


@pytest.fixture
def start(settings):
    """Starts `minillm pretrain` as a process of its own, with more words for its command line."""

    def start_process(*words, **changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        options = [f"--{name}={value}" for name, value in {**settings, **named}.items()]
        command = [sys.executable, "-m", "minillm.pretrain", *options, *words]
        return subprocess.Popen(command, stdout=-1, stderr=-1, text=True)

    return start_process


@pytest.fixture(scope="session")
def trained_once(run_settings, shared_data, tmp_path_factory):
    """Trains at the first asking; later ones with the same changes get the same folder."""

    @functools.cache
    def train(**changes):
        folder = tmp_path_factory.mktemp("trained") / "run"
        settings = {**run_settings, "data.path": str(shared_data), "train.out_dir": str(folder)}
        settings |= {name.replace("__", "."): value for name, value in changes.items()}
        config = load_config(model="nano", overrides=settings, base={"model": {"vocab_size": 257}})
        pretrain.run(config, resume=False, eval_only=False, quiet=True)
        return folder

    return train


@pytest.fixture
def trained_copy(trained_once, tmp_path):
    """Copies such a run to a folder of this test."""
    return lambda name, **changes: shutil.copytree(trained_once(**changes), tmp_path / name)
