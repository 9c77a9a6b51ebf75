"""`minillm demo`: from text to a model that tells stories, in minutes, with nothing to answer.

Six stages on the screen, each done by the command that a user would type for it, all in one
folder. A second demo in that folder keeps what is complete and goes on with the rest.

At the end, the bits per byte of the stories are within 15% of their entropy, which no model can
go below: the model is small, but the learning rate has decayed to almost nothing by then.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from minillm import messages
from minillm.config import Config, load_config
from minillm.messages import UsageError, say

if TYPE_CHECKING:
    from minillm.train import RunResult

app = App(name="demo", help="Text to tokenizer to model to samples, offline, in minutes.")

OUT_DIR = Path("runs/demo")
STEPS = 1000

NUMBERS = {"machine": 1, "text": 2, "tokenizer": 3, "encode": 4, "pretrain": 5, "done": 6}


@app.default
def demo(
    *,
    data: str = "stories",
    out_dir: Path = OUT_DIR,
    steps: Annotated[int, Parameter(validator=Number(gte=1))] = STEPS,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
) -> int:
    """Text to tokenizer to model to samples, offline, in minutes.

    Args:
        data: stories, stdlib (the Python sources on this disk), or a text file of yours.
        out_dir: Folder of everything; a demo that was stopped there goes on.
        steps: Optimizer steps.
        seed: Which stories, which weights, which order.
    """
    if data not in ("stories", "stdlib") and not Path(data).is_file():
        raise UsageError(f"--data is `{data}`, expected stories, stdlib or a text file")
    _refuse_other_run(out_dir, steps=steps)
    began = time.monotonic()
    command = _command(data=data, out_dir=out_dir, steps=steps, seed=seed)
    try:
        from minillm.data.prepare import prepare  # noqa: PLC0415  torch takes seconds
        from minillm.pretrain import run  # noqa: PLC0415

        _show_machine(out_dir)
        prepared = prepare(data, out_dir / "data", seed=seed, tell=_stage)
        config = _config(out_dir, steps=steps, seed=seed)
        goal = f", at best to {prepared.floor:.4f} bits per byte" if prepared.floor else ""
        _stage("pretrain", f"{steps} steps{goal}; Ctrl-C saves and says how to go on")
        result = run(config, resume="auto", eval_only=False, quiet=False)
    except KeyboardInterrupt:
        say(f"stopped; to go on: {command}")
        return messages.EXIT_RESUMABLE
    if not result.is_complete:
        say(f"or, with the summary at the end: {command}")
        return messages.EXIT_RESUMABLE
    _show_result(result, prepared.floor, elapsed_s=time.monotonic() - began)
    return 0


def _command(*, data: str, out_dir: Path, steps: int, seed: int) -> str:
    """What to type to come back here: what was not left as it is."""
    words = ["minillm", "demo"]
    words += [] if data == "stories" else ["--data", data]
    words += [] if out_dir == OUT_DIR else ["--out-dir", str(out_dir)]
    words += [] if steps == STEPS else ["--steps", str(steps)]
    words += [] if seed == 0 else ["--seed", str(seed)]
    return shlex.join(words)


def _refuse_other_run(out_dir: Path, *, steps: int) -> None:
    """A run's schedule is made for its number of steps, and a demo's folder is a demo's."""
    file = out_dir / "config.yaml"
    if not file.exists():
        return
    known = load_config(file=file).train.max_train_steps
    if known != steps or not (out_dir / "data" / "prepared.json").exists():
        error = UsageError(f"`{out_dir}` holds another run, of {known} steps")
        raise messages.with_hint(error, "choose another --out-dir, or delete that one")


def _config(out_dir: Path, *, steps: int, seed: int) -> Config:
    """The smallest preset, with a context that is longer than a story."""
    from minillm.tokenizer import Tokenizer  # noqa: PLC0415

    return load_config(
        model="nano",
        recipe="compat",
        base={"model": {"vocab_size": Tokenizer.load(out_dir / "data").vocab_size}},
        overrides={
            "model.context_length": "256",
            "data.path": str(out_dir / "data"),
            "train.batch_size": "8",
            "train.max_train_steps": str(steps),
            "train.eval_interval": str(max(steps // 7, 1)),
            "train.eval_batches": "8",
            "train.save_interval": str(max(steps // 7, 1)),
            "train.generate_interval": str(max(steps // 4, 1)),
            "train.seed": str(seed),
            "train.out_dir": str(out_dir),
        },
    )


def _show_machine(out_dir: Path) -> None:
    import torch  # noqa: PLC0415

    from minillm.train.device import choose_device, physical_cores  # noqa: PLC0415

    out_dir.mkdir(parents=True, exist_ok=True)
    parts = [f"{physical_cores()} CPU cores"]
    if hasattr(os, "sysconf"):
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        parts.append(f"{memory_bytes / 1e9:.0f} GB memory")
    parts.append(f"{shutil.disk_usage(out_dir).free / 1e9:.0f} GB free on disk")
    parts.append(f"Python {platform.python_version()}, PyTorch {torch.__version__}")
    _stage("machine", f"{', '.join(parts)}; training on {choose_device('auto')} in float32")


def _show_result(result: RunResult, floor: float | None, *, elapsed_s: float) -> None:
    """What was learned, what lies where, what to type next."""
    from minillm.track.metrics import read_metrics  # noqa: PLC0415

    minutes, seconds = divmod(round(elapsed_s), 60)
    _stage("done", f"{result.steps} steps, {minutes}m{seconds:02d}s")
    for record in read_metrics(result.folder):
        if "val_bits_per_byte" in record:
            bits = record["val_bits_per_byte"]
            times = f" = {bits / floor:5.2f} x floor" if floor else ""
            bar = "#" * round(8 * bits)
            say(f"  step {record['step']:5}  {bits:.4f} bits per byte{times}  {bar}")
    names = " ".join(sorted(path.name for path in result.folder.iterdir()))
    folder = shlex.quote(str(result.folder))
    say(f"  in {folder}: {names}")
    say("  next:")
    say(f"    minillm generate {folder} --prompt 'Once upon a time' --num-samples 3")
    say(f"    minillm demo --data YOUR.txt --out-dir {folder}-of-mine")
    say(f"    minillm pretrain --data {folder}/data --model tiny --out-dir {folder}-tiny")


def _stage(name: str, text: str) -> None:
    say(f"{NUMBERS[name]}/6 {name:<10} {text}")


if __name__ == "__main__":
    sys.exit(messages.run(app))
