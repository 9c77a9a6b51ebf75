"""A folder of byte tokens and a configuration that trains on it in a second."""

import subprocess
import sys

import numpy as np
import pytest
import torch

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


@pytest.fixture
def data_folder(tmp_path):
    """Byte-level shards of some text, with their manifests and their tokenizer."""
    folder = tmp_path / "data"
    folder.mkdir()
    end = "<|endoftext|>"
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], [end], pattern=None)
    tokenizer.save(folder / "tokenizer.json")
    for name, stories in (("train", 60), ("val", 6)):
        rng = np.random.default_rng(stories)
        words = ["Tom", "saw", "a", "red", "kite", "and", "ran"]
        text = tmp_path / f"{name}.txt"
        text.write_text(end.join(" ".join(rng.choice(words, size=20)) for _ in range(stories)))
        tokenizer.encode_files([text], folder / f"{name}.bin")
    return folder


@pytest.fixture
def settings(data_folder, tmp_path):
    """Dotted fields of a tiny run in `tmp_path / "run"`."""
    return {**SETTINGS, "data.path": str(data_folder), "train.out_dir": str(tmp_path / "run")}


@pytest.fixture
def make_config(settings):
    """Builds the configuration, with changes given as `section__field="text"`."""

    def make(**changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        base = {"model": {"vocab_size": 257}}
        return load_config(model="nano", overrides={**settings, **named}, base=base)

    return make


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
