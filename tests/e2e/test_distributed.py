"""Two processes under `torchrun` train what one does: the same rows, the same updates."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from minillm.checkpoint import latest_checkpoint, list_checkpoints
from minillm.config import TrainConfig, dump_yaml
from minillm.pretrain import run
from minillm.track.metrics import read_metrics
from minillm.train import loop
from minillm.train.setup import shared_out
from minillm.train.signals import StopRequest

BASE = {
    "model__dropout": "0",
    "train__generate_interval": "10",
    "train__gradient_accumulation_steps": "1",  # which two processes make 2 of half the size
    "train__health_interval": "6",
    "optim__name": "muon",
    "optim__schedule": "constant",
}


def torchrun(*words):
    """Starts two processes that train together."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *words], stdout=-1, stderr=-1, text=True, env=environment)


def train(config, *, resume=False):
    run(config, resume=resume, eval_only=False, quiet=True)
    return config.train.out_dir


def numbers_of(record):
    """All that does not hang on a clock, or on the little that losses differ by."""
    numbers = {
        f"{role} {name}": value
        for role, updates in record.get("updates", {}).items()
        for name, value in updates.items()
    }
    timed = ("tokens_per_s", "elapsed_s", "memory_bytes", "loss_spike", "updates")
    return numbers | {name: value for name, value in record.items() if name not in timed}


def assert_alike(left, right, *, losses=True):
    """Loss to 1e-6, parameters to 1e-5: sums of the same numbers in another order."""
    if losses:
        one, other = (list(map(numbers_of, read_metrics(folder))) for folder in (left, right))
        assert [list(record) for record in one] == [list(record) for record in other]
        for ours, theirs in zip(one, other, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5 if "matrix weight_norm" in ours else 1e-6)
    checkpoints = [latest_checkpoint(folder)[0] for folder in (left, right)]
    assert checkpoints[0].step == checkpoints[1].step == 20
    one, other = (checkpoint.tensors("model") for checkpoint in checkpoints)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-5)


def test_two_processes_train_as_one_does(make_config, tmp_path):
    """DDP, FSDP2, and a run that goes from one process to two and back."""

    def named(name, **changes):
        return make_config(**{**BASE, "train__out_dir": str(tmp_path / name), **changes})

    jobs = []
    train(named("mixed", train__max_train_steps="6"))
    for config in (
        named("ddp"),
        named("fsdp", train__parallel="fsdp", train__activation_checkpointing="true"),
        named("mixed", train__parallel="fsdp", train__max_train_steps="13"),
    ):
        file = tmp_path / f"{config.train.out_dir.name}.yaml"
        file.write_text(dump_yaml(config))
        jobs.append(json.dumps({"config": str(file), "resume": "auto"}))
    (tmp_path / "jobs").write_text("\n".join(jobs))
    script = Path(__file__).with_name("distributed_runs.py")
    process = torchrun(str(script), str(tmp_path / "jobs"))
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    train(named("mixed"), resume=True)

    alone = train(named("alone"))
    for name in ("ddp", "fsdp"):
        assert_alike(alone, tmp_path / name)
        samples = [(folder / "samples.txt").read_text() for folder in (alone, tmp_path / name)]
        assert samples[0] == samples[1]
        assert len(json.loads((tmp_path / name / "run.json").read_text())) == 1
    assert_alike(alone, tmp_path / "mixed", losses=False)


@pytest.fixture
def start(settings):
    """Starts `minillm pretrain` as two processes, with shorter names for its options."""

    def start_processes(**changes):
        named = {name.replace("__", "."): value for name, value in {**BASE, **changes}.items()}
        options = [f"--{name}={value}" for name, value in {**settings, **named}.items()]
        return torchrun("-m", "minillm.pretrain", *options)

    return start_processes


def test_a_process_killed_during_a_save_ends_all_and_the_run_goes_on(start, make_config, tmp_path):
    process = start(train__save_interval="1", train__max_train_steps="100000")
    while len(list_checkpoints(tmp_path / "run")) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    pids = subprocess.run(["pgrep", "-P", str(process.pid)], stdout=-1, text=True, check=True)
    environments = {
        int(pid): Path(f"/proc/{pid}/environ").read_bytes() for pid in pids.stdout.split()
    }
    writer = next(pid for pid, known in environments.items() if b"\0RANK=0\0" in known)
    while not list((tmp_path / "run").glob("step-*.tmp")):
        assert process.poll() is None
    os.kill(writer, signal.SIGKILL)
    process.communicate(timeout=200)
    assert process.returncode != 0
    steps = latest_checkpoint(tmp_path / "run")[0].step + 4
    train(make_config(**BASE, train__max_train_steps=str(steps)), resume=True)
    assert latest_checkpoint(tmp_path / "run")[0].step == steps


def test_a_signal_while_processes_agree_is_not_lost():
    class Agreeing:
        def any(self, flag):
            stop.requested = True  # as a signal does, too late to be told to the others
            return flag

    stop = StopRequest(lambda: None)
    run_of_two = SimpleNamespace(world=Agreeing())
    assert not loop._is_stopped(run_of_two, stop)
    assert stop.requested
    assert loop._is_stopped(run_of_two, stop)


def test_a_signal_to_torchrun_saves(start, tmp_path):
    process = start(train__max_train_steps="100000", train__log_interval="1")
    for line in process.stderr:
        if line.startswith("step 3/"):
            break
    process.terminate()
    _, errors = process.communicate(timeout=200)
    assert errors.count("saved at step") == 1, errors
    assert latest_checkpoint(tmp_path / "run")[0].step >= 3


@pytest.mark.parametrize(
    ("given", "processes", "expected"),
    [((16, 1), 2, (8, 2)), ((16, 4), 2, (16, 4)), ((6, 1), 4, None), ((12, 1), 8, None),
     ((12, 2), 8, (3, 8))],
)  # fmt: skip
def test_a_step_is_shared_by_smaller_batches(given, processes, expected):
    settings = TrainConfig(batch_size=given[0], gradient_accumulation_steps=given[1])
    if expected is None:
        with pytest.raises(ValueError, match=r"of a step cannot be shared by . processes"):
            shared_out(settings, processes)
    else:
        shared = shared_out(settings, processes)
        assert (shared.batch_size, shared.gradient_accumulation_steps) == expected
