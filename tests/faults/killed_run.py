"""Trains on real text twice, side by side: one run is left alone, the other killed again and again.

    python tests/faults/killed_run.py FOLDER [--steps 600]

FOLDER takes 2 GB; MINILLM_DATA names the folder of the texts. Both runs have one thread. The second
is killed with SIGKILL after one to three minutes, over and over, and begun again with the same
words, until it is done. Then each tensor of both last checkpoints (weights, optimizer, random
generators), the metrics and the samples are compared bit for bit. Writes docs/killed-run.md.
"""

# ruff: noqa: T201

import argparse
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import torch

from minillm.checkpoint import latest_checkpoint, list_checkpoints
from minillm.track.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[2]
TEXT = "wikipedia-en-long.train-a.txt"
BETWEEN_KILLS_S = (60.0, 180.0)
CLOCKS = ("tokens_per_s", "elapsed_s", "memory_bytes")


def prepare(folder: Path) -> Path:
    """Text, tokenizer and token files in `folder`; what is there is kept."""
    text, tokenizer, data = folder / TEXT, folder / "tokenizer.json", folder / "data"
    if not text.exists():
        packed = Path(os.environ["MINILLM_DATA"]) / f"{TEXT}.zst"
        with (
            pyarrow.input_stream(str(packed), compression="zstd") as stream,
            text.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file, 1 << 22)
    if not tokenizer.exists():
        train = ["minillm-bpe", "train", text, "--vocab-size", "16000", "--out", tokenizer]
        subprocess.run(train, check=True)
    if not (data / "train.json").exists():
        encode = ["minillm-bpe", "encode", text, "--tokenizer", tokenizer, "--val-fraction", "0.01"]
        subprocess.run([*encode, "--out", data / "train.bin"], check=True)
    return data


def start(data: Path, out: Path, steps: int) -> subprocess.Popen:
    """Begins a run in `out`, or goes on with the one that is there."""
    words = f"--model tiny --threads 1 --dtype bfloat16 --max-train-steps {steps}"
    intervals = "--save-interval 10 --eval-interval 100 --generate-interval 100 --log-interval 10"
    places = ["--data", data, "--out-dir", out, "--resume", "auto", "--quiet"]
    return subprocess.Popen(["minillm", "pretrain", *words.split(), *intervals.split(), *places])


def last_logged(out: Path) -> int:
    """Step of the last line of metrics, 0 before the first."""
    return max((record["step"] for record in read_metrics(out)), default=0)


def what_it_did(out: Path) -> str:
    """Whether a checkpoint was being written a moment ago."""
    return "writing a checkpoint" if list(out.glob("*.tmp*")) else "training"


def run_both(data: Path, folder: Path, steps: int) -> tuple[list[str], float, float]:
    """Trains both to the end: a table row for each kill, and the seconds that each took."""
    whole, killed = folder / "whole", folder / "killed"
    began, rows, moments = time.monotonic(), [], random.Random(0)
    unbroken = start(data, whole, steps)
    try:
        whole_s = None
        broken = start(data, killed, steps)
        kill_at = time.monotonic() + moments.uniform(*BETWEEN_KILLS_S)
        while broken.poll() is None or unbroken.poll() is None:
            time.sleep(0.05)
            if whole_s is None and unbroken.poll() is not None:
                whole_s = time.monotonic() - began
            if broken.poll() is None and time.monotonic() >= kill_at:
                broken.kill()
                broken.wait()
                minutes, saved = (time.monotonic() - began) / 60, list_checkpoints(killed)
                newest = max((int(path.name.removeprefix("step-")) for path in saved), default=0)
                rows.append(
                    f"| {len(rows) + 1} | {minutes:.1f} | {last_logged(killed)} | {newest} "
                    f"| {what_it_did(killed)} |"
                )
                print(rows[-1], flush=True)
                broken = start(data, killed, steps)
                kill_at = time.monotonic() + moments.uniform(*BETWEEN_KILLS_S)
        if unbroken.returncode or broken.returncode:
            sys.exit(f"a run ended with {unbroken.returncode} and {broken.returncode}")
        killed_s = time.monotonic() - began
        return rows, whole_s or killed_s, killed_s
    finally:
        for process in (unbroken, broken):
            process.kill()


def compare(whole: Path, killed: Path) -> list[str]:
    """Names all that was compared; ends the script where something differs."""
    left, right = latest_checkpoint(whole)[0], latest_checkpoint(killed)[0]
    lines = []
    for kind in ("model", "optimizer", "rng"):
        ours, theirs = left.tensors(kind), right.tensors(kind)
        different = [n for n in ours if n not in theirs or not torch.equal(ours[n], theirs[n])]
        if different or ours.keys() != theirs.keys() or left.step != right.step:
            sys.exit(f"{kind}: {different} differ at steps {left.step} and {right.step}")
        numbers = sum(tensor.numel() for tensor in ours.values())
        lines.append(f"| {kind} | {len(ours)} tensors, {numbers:,} numbers | equal |")
    kept = [
        [{k: v for k, v in record.items() if k not in CLOCKS} for record in read_metrics(folder)]
        for folder in (whole, killed)
    ]
    samples = [(folder / "samples.txt").read_bytes() for folder in (whole, killed)]
    if kept[0] != kept[1] or samples[0] != samples[1]:
        sys.exit("metrics or samples differ")
    lines.append(f"| metrics, without clocks | {len(kept[0])} lines | equal |")
    lines.append(f"| samples | {len(samples[0]):,} bytes | equal |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in ("whole", "killed"):
        shutil.rmtree(options.folder / name, ignore_errors=True)
    data = prepare(options.folder)
    rows, whole_s, killed_s = run_both(data, options.folder, options.steps)
    equal = compare(options.folder / "whole", options.folder / "killed")
    git = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    final = [
        r["val_bits_per_byte"]
        for r in read_metrics(options.folder / "killed")
        if "val_bits_per_byte" in r
    ][-1]
    report = [
        "# A run that is killed every one to three minutes\n",
        f"Written by `tests/faults/killed_run.py` at commit {commit}: the `tiny` model on {TEXT} "
        f"(Wikipedia), {options.steps} steps of 4,096 tokens, bfloat16, a thread a run, both runs "
        f"side by side on {platform.machine()}, Python {platform.python_version()}, "
        f"PyTorch {torch.__version__}.\n",
        f"Left alone it took {whole_s / 60:.1f} minutes; killed {len(rows)} times with SIGKILL, "
        f"{killed_s / 60:.1f} minutes. Both end at {final:.4f} bits per byte on held-out text.\n",
        "| compared | how much | |\n| --- | ---: | --- |",
        *equal,
        "\nThe kills: minute, last logged step, step of the newest whole checkpoint, and whether a "
        "half one lay beside it.\n",
        "| kill | minute | last logged | went on from | while |",
        "| ---: | ---: | ---: | ---: | --- |",
        *rows,
    ]
    (ROOT / "docs" / "killed-run.md").write_text("\n".join(report) + "\n")
    print("\n".join(report))


if __name__ == "__main__":
    main()
