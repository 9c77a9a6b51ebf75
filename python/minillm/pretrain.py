"""`minillm pretrain`: trains a model on a folder of token files.

    python -m minillm.pretrain --model small --data data/ --out-dir runs/a
    python -m minillm.pretrain --out-dir runs/a --resume
    python -m minillm.pretrain --out-dir runs/a --eval-only
    python -m minillm.pretrain --out-dir runs/b --init-from runs/a

The command line is parsed and the configuration checked before PyTorch is imported, so that
`--help` and a typo answer at once. From Python, `run` does the same for a `Config`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from minillm import messages
from minillm.config import Config, TrainConfig
from minillm.messages import UsageError, with_hint
from minillm.options import configured_app, parse_fields, usable_config

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from minillm.tokenizer import TextEncoder
    from minillm.train import RunResult

app = configured_app("pretrain")

STORIES = Path("runs/stories")
"""Where the built-in stories go when there is nothing else to train on."""


@app.default
def main(
    *fields: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    model: str | None = None,
    recipe: str | None = None,
    config: Path | None = None,
    resume: bool = False,
    resume_auto: Annotated[bool, Parameter(show=False)] = False,
    eval_only: bool = False,
    quiet: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Train a model on a folder of token files.

    Args:
        fields: Values of the configuration.
        model: Shape: a preset or a file.
        recipe: How to train: a preset or a file.
        config: File with any part of the tree.
        resume: Go on with the run in --out-dir; `--resume auto`: or begin it if there is none.
        resume_auto: As `--resume auto`.
        eval_only: Validate the run in --out-dir on all of val.bin.
        quiet: Show errors only.
        as_json: Print the metrics as lines of JSON.
    """
    overrides = parse_fields(fields, app)
    presets = {"model": model, "recipe": recipe, "config": config}
    if resume_auto and is_begun(overrides):
        resume, presets = True, {}  # the same words each time; the run has its own presets
    if resume or eval_only:
        resolved = config_of_run(presets, overrides)
    else:
        resolved = _new_config(presets, overrides, quiet=quiet)
    result = run(resolved, resume=resume, eval_only=eval_only, quiet=quiet, as_json=as_json)
    if eval_only and os.environ.get("RANK", "0") == "0":
        record = {
            "step": result.steps,
            "val_loss": result.val_loss,
            "val_bits_per_byte": result.val_bits_per_byte,
        }
        print(json.dumps(record))  # noqa: T201  the data of this verb
    return 0 if result.is_complete else messages.EXIT_RESUMABLE


def run(
    config: Config,
    *,
    resume: bool | Literal["auto"],
    eval_only: bool,
    quiet: bool,
    console: Console | None = None,
    tokenizer: TextEncoder | None = None,
    weights: Mapping[str, Tensor] | None = None,
    as_json: bool = False,
) -> RunResult:
    """Trains the run that `config` describes, or goes on with it, or only evaluates it.

    Args:
        config: The resolved configuration; `model.vocab_size` must hold that of the data.
        resume: Go on with the run in `config.train.out_dir`. Without it a run there is an error;
            with "auto" it is resumed if it is there, and begun if not.
        eval_only: Evaluate the newest checkpoint on all validation tokens; writes nothing.
        quiet: Print nothing.
        console: Where to print; stderr when absent.
        tokenizer: The one that wrote the token files, if there is no `tokenizer.json` beside them:
            one of another library, wrapped by `minillm.tokenizer.text_encoder`.
        weights: Those of `config.train.init_from`, where they have been read already.
        as_json: Print each record of the metrics to stdout, as a line of JSON.

    Raises:
        ValueError: If configuration, data and checkpoint do not fit one another, or the loss
            stops being finite.
        OSError: If something cannot be read or written.
    """
    from rich.console import Console  # noqa: PLC0415  both only once the command line is good

    from minillm.train import evaluate_run, has_run, join_world, train_run  # noqa: PLC0415

    folder = config.train.out_dir
    with join_world() as world:
        if not world.is_first or console is None:
            console = Console(stderr=True, quiet=quiet or not world.is_first)
        if eval_only:
            return evaluate_run(config, console=console, tokenizer=tokenizer, world=world)
        if (found := has_run(folder)) and not resume:
            error = ValueError(f"`{folder}` already holds a run")
            raise with_hint(error, "go on with it by --resume, or choose another --out-dir")
        if resume is True and not found:
            raise ValueError(f"`{folder}` holds no run to resume: it has no config.yaml")
        if config.train.init_from is not None and weights is None:
            from minillm.interop import initial_weights  # noqa: PLC0415

            weights = initial_weights(config, tokenizer)
        world.barrier()  # all have looked before one writes
        return train_run(
            config,
            resume=found,
            console=console,
            tokenizer=tokenizer,
            weights=weights,
            as_json=as_json,
            world=world,
        )


def _new_config(presets: Mapping[str, Any], overrides: dict[str, str], *, quiet: bool) -> Config:
    """The configuration of a new run; its vocabulary is the data's unless the shape has one."""
    shape, recipe, file = presets["model"], presets["recipe"], presets["config"]
    load = partial(usable_config, recipe=recipe, file=file, overrides=overrides)
    config = load(model=shape)
    # What was asked for by name and is not there is a mistake, not a wish for stories.
    if not config.data.model_fields_set and not any(
        (config.data.path / name).exists() for name in ("train.bin", "train.json")
    ):
        from minillm.data.prepare import prepare_stories  # noqa: PLC0415  imports torch

        if "WORLD_SIZE" in os.environ:  # all would write them
            raise UsageError("several processes need --data: the built-in stories are for one")

        if not quiet:
            messages.say(f"no --data and no `./data`: training on built-in stories in `{STORIES}`")
        prepare_stories(STORIES)
        overrides["data.path"] = str(STORIES)
        config = load(model=shape)
    from minillm.train import data_vocab_size  # noqa: PLC0415  imports torch

    if config.train.init_from is not None:
        from minillm.interop import initial_shape  # noqa: PLC0415

        if shape is not None:
            reason = "the shape is that of the weights"
            raise UsageError(f"--model cannot be given with --init-from: {reason}")
        shape = initial_shape(config.train.init_from).model_dump()
        config = load(model=shape)
    vocab_size = data_vocab_size(config.data)
    if vocab_size is None:
        return config
    return load(model=shape, base={"model": {"vocab_size": vocab_size}})


def config_of_run(presets: Mapping[str, Any], overrides: Mapping[str, str]) -> Config:
    """The configuration that the run in --out-dir was begun with, and what is changed in it."""
    for name, value in presets.items():
        if value is not None:
            problem = "cannot be given with --resume or --eval-only: the run has its own"
            hint = "change single fields, such as --max-train-steps"
            raise with_hint(UsageError(f"--{name} {problem}"), hint)
    folder = _out_dir(overrides)
    file = folder / "config.yaml"
    if not file.exists():
        raise ValueError(f"`{folder}` holds no run: there is no `{file}`")
    return usable_config(file=file, overrides={**overrides, "train.out_dir": str(folder)})


def is_begun(overrides: Mapping[str, str]) -> bool:
    """Whether there is a run in --out-dir."""
    return (_out_dir(overrides) / "config.yaml").exists()


def _out_dir(overrides: Mapping[str, str]) -> Path:
    return Path(overrides.get("train.out_dir", TrainConfig.model_fields["out_dir"].default))


if __name__ == "__main__":
    sys.exit(messages.run(app))
