"""A folder of byte tokens and a configuration that trains on it in a second."""

import functools
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from minillm import pretrain
from minillm.checkpoint import latest_checkpoint
from minillm.config import load_config
from minillm.tokenizer import Tokenizer
from minillm.track.metrics import read_metrics

CLOCKS = ("tokens_per_s", "elapsed_s", "memory_bytes")

SETTINGS = {
    "model.context_length": "32",
    "model.d_model": "32",
    "model.n_layers": "2",
    "model.n_heads": "2",
    "model.dropout": "0.1",
    "train.batch_size": "4",
    "train.max_train_steps": "20",
    "train.gradient_accumulation_steps": "2",
    "train.eval_interval": "5",
    "train.eval_batches": "2",
    "train.generate_interval": "7",
    "train.save_interval": "4",
    "train.log_interval": "3",
    "train.device": "cpu",
    "train.threads": "1",
    "optim.warmup_steps": "4",
    "sample.max_new_tokens": "8",
}


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory):
    """Byte-level shards of some text, with their manifests and their tokenizer, to be read only."""
    texts = tmp_path_factory.mktemp("texts")
    folder = tmp_path_factory.mktemp("data")
    end = "<|endoftext|>"
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], [end], pattern=None)
    tokenizer.save(folder / "tokenizer.json")
    for name, stories in (("train", 60), ("val", 6)):
        rng = np.random.default_rng(stories)
        words = ["Tom", "saw", "a", "red", "kite", "and", "ran"]
        text = texts / f"{name}.txt"
        text.write_text(end.join(" ".join(rng.choice(words, size=20)) for _ in range(stories)))
        tokenizer.encode_files([text], folder / f"{name}.bin")
    return folder


@pytest.fixture
def data_folder(shared_data, tmp_path):
    """The same, for a test to do with as it likes."""
    return shutil.copytree(shared_data, tmp_path / "data")


def config_of(settings, changes):
    named = {name.replace("__", "."): value for name, value in changes.items()}
    base = {"model": {"vocab_size": 257}}
    return load_config(model="nano", overrides={**settings, **named}, base=base)


@pytest.fixture
def settings(data_folder, tmp_path):
    """Dotted fields of a tiny run in `tmp_path / "run"`."""
    return {**SETTINGS, "data.path": str(data_folder), "train.out_dir": str(tmp_path / "run")}


@pytest.fixture
def make_config(settings):
    """Builds the configuration, with changes given as `section__field="text"`."""
    return lambda **changes: config_of(settings, changes)


@pytest.fixture(scope="session")
def trained_once(shared_data, tmp_path_factory):
    """Trains at the first asking; later ones with the same changes get the same folder."""

    @functools.cache
    def train(**changes):
        folder = tmp_path_factory.mktemp("trained") / "run"
        settings = {**SETTINGS, "data.path": str(shared_data), "train.out_dir": str(folder)}
        pretrain.run(config_of(settings, changes), resume=False, eval_only=False, quiet=True)
        return folder

    return train


@pytest.fixture
def trained_copy(trained_once, tmp_path):
    """Copies such a run to a folder of this test."""
    return lambda name, **changes: shutil.copytree(trained_once(**changes), tmp_path / name)


@pytest.fixture
def start(settings):
    """Starts `minillm pretrain` as a process of its own, with more words for its command line."""

    def start_process(*words, **changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        options = [f"--{name}={value}" for name, value in {**settings, **named}.items()]
        command = [sys.executable, "-m", "minillm.pretrain", *options, *words]
        return subprocess.Popen(command, stdout=-1, stderr=-1, text=True)

    return start_process


def _weights_of(folder):
    """Weights, optimizer and generators of the newest checkpoint, and its step."""
    checkpoint, _ = latest_checkpoint(folder)
    tensors = {name: checkpoint.tensors(name) for name in ("model", "optimizer", "rng")}
    return checkpoint.step, tensors


def _metrics_of(folder):
    """Metrics without what a clock measured."""
    return [
        {name: value for name, value in record.items() if name not in CLOCKS}
        for record in read_metrics(folder)
    ]


@pytest.fixture
def assert_equal_runs():
    """Compares two run folders bit for bit: weights, optimizer, generators, metrics, samples."""

    def compare(left, right):
        left_step, left_tensors = _weights_of(left)
        right_step, right_tensors = _weights_of(right)
        assert left_step == right_step
        for kind, tensors in left_tensors.items():
            assert tensors.keys() == right_tensors[kind].keys()
            for name, tensor in tensors.items():
                assert torch.equal(tensor, right_tensors[kind][name]), (kind, name)
        assert _metrics_of(left) == _metrics_of(right)
        assert (left / "samples.txt").read_text() == (right / "samples.txt").read_text()

    return compare
