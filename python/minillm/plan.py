"""`minillm plan`: what a run will take, before anything is allocated.

    minillm plan --model 350m --dtype bfloat16 --batch-size 32 --device h100
    minillm plan --model.depth 20 --json

It takes the options of `minillm pretrain`, but `--device` is the name of a device in its table,
which need not be here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from minillm import messages
from minillm.config.devices import DEVICES
from minillm.config.messages import did_you_mean
from minillm.messages import UsageError, scaled
from minillm.options import configured_app, parse_fields, usable_config

app = configured_app("plan")


@app.default
def main(
    *fields: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    model: str | None = None,
    recipe: str | None = None,
    config: Path | None = None,
    device: Annotated[str, Parameter(help=f"Where it is to run: {', '.join(DEVICES)}.")] = "h200",
    mfu: Annotated[float, Parameter(validator=Number(gt=0, lte=1))] = 0.4,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Parameters, memory and time of a run, before anything is allocated.

    Args:
        fields: Values of the configuration.
        model: Shape: a preset or a file.
        recipe: How to train: a preset or a file.
        config: File with any part of the tree.
        device: A device of the table.
        mfu: Share of its peak that is reached.
        as_json: Print plain numbers as JSON.
    """
    overrides = parse_fields(fields, app)
    if device not in DEVICES:
        known = ", ".join(DEVICES)
        hint = did_you_mean(device, DEVICES)
        raise UsageError(f"unknown device `{device}`, expected one of {known}{hint}")
    resolved = usable_config(model=model, recipe=recipe, file=config, overrides=overrides)

    from minillm.train.budget import budget  # noqa: PLC0415  imports torch

    figures, settings = DEVICES[device], resolved.train
    is_half = settings.dtype == "bfloat16"
    peak = figures.bfloat16_flops_per_s if is_half else figures.float32_flops_per_s
    sections = budget(resolved, flops_per_s=mfu * peak)
    if as_json:
        print(json.dumps(sections, indent=1))  # noqa: T201  the data of this verb
        return
    titles = {
        "model": f"vocabulary of {resolved.model.vocab_size:,}",
        "training": f"{settings.batch_size} x {settings.seq_len} tokens a micro-step,"
        f" {resolved.optim.name}, {settings.dtype}",
        "decoding": "one sequence, float32",
        "time": f"{device}, {mfu:.0%} of its peak in {settings.dtype}",
    }
    for section, parts in sections.items():
        print(f"{section} ({titles[section]})")  # noqa: T201
        for name, value in parts.items():
            label, text = describe(name, value)
            print(f"  {label:<24}{text:>10}")  # noqa: T201
    needed, there = sections["training"]["total_bytes"], figures.memory_bytes
    if needed > there:
        messages.say(
            f"warning: training needs {needed / 1e9:.0f} GB, {device} has {there / 1e9:.0f} GB"
            "\nhint: a smaller --batch-size with more --gradient-accumulation-steps trains the same"
        )


def describe(name: str, value: float) -> tuple[str, str]:
    """Label and text of one number, by the unit that its name ends in."""
    words = name.replace("_", " ")
    if name.endswith("_bytes"):
        return words.removesuffix(" bytes"), scaled(value, "B")
    if name.endswith("_per_s"):
        return words.removesuffix(" s") + " second", scaled(value)
    if name.endswith("_s"):
        return words.removesuffix(" s") + " time", _duration(value)
    return words, scaled(value)


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(messages.run(app))
