"""Weights & Biases and TensorBoard: where the metrics of a run go besides its folder.

Both are off unless the section `track` of the configuration names them, and come with the extra
`track`. Only there does a run talk to the network, and with `track.wandb_mode: offline` not there.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from minillm.config import Config
from minillm.files import replace_file
from minillm.messages import import_extra, with_hint
from minillm.track.metrics import Record, Sink

WANDB_ID = "wandb-id"
"""File of the run folder with the id by which a resumed run is the same one there."""


@contextmanager
def open_trackers(config: Config, folder: Path) -> Iterator[list[Sink]]:
    """What takes each record of the metrics, for the length of a `with` block.

    Raises:
        ValueError: If a package is missing, or Weights & Biases refuses.
    """
    with ExitStack() as stack:
        sinks = []
        if config.track.wandb:
            run = stack.enter_context(_start_wandb(config, folder))
            sinks.append(lambda record: run.log(_numbers(record), step=record["step"]))
        if config.track.tensorboard:
            tensorboard = import_extra("torch.utils.tensorboard", extra="track")
            writer = stack.enter_context(tensorboard.SummaryWriter(str(folder / "tensorboard")))

            def write_events(record: Record) -> None:
                for name, value in _numbers(record).items():
                    writer.add_scalar(name, value, record["step"])
                writer.flush()  # a killed process would take the last two minutes with it

            sinks.append(write_events)
        yield sinks


def _start_wandb(config: Config, folder: Path) -> Any:  # noqa: ANN401  a class of an extra
    wandb = import_extra("wandb", extra="track")
    settings, id_file = config.track, folder / WANDB_ID
    try:
        run = wandb.init(
            project=settings.wandb_project,
            name=settings.wandb_name or folder.resolve().name,
            id=id_file.read_text().strip() if id_file.exists() else None,
            resume="allow",
            mode=settings.wandb_mode,
            dir=str(folder),
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(console="off"),  # what is said on the screen stays here
        )
    except wandb.Error as error:
        hint = "without the network: --track.wandb_mode offline"
        raise with_hint(ValueError(f"wandb: {error}"), hint) from error
    replace_file(id_file, run.id.encode())
    return run


def _numbers(record: Record) -> dict[str, float]:
    return {name: x for name, x in record.items() if type(x) in (int, float) and name != "step"}
