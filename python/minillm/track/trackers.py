"""Weights & Biases and TensorBoard: where the metrics of a run go besides its folder.

Both are off unless the section `track` of the configuration names them, and come with the extra
`track`. Only there does a run talk to the network, and with `track.wandb_mode: offline` not there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from minillm.config import Config
from minillm.files import replace_file
from minillm.messages import import_extra, with_hint
from minillm.track.metrics import Record, Sink, place, read_metrics


@contextmanager
def open_trackers(config: Config, folder: Path) -> Iterator[Sink]:
    """What takes each record of the metrics, for the length of a `with` block.

    What lies in the metrics already was sent by an earlier process, and is not sent again when a
    resumed run comes to it once more. So call this before they are cut back.

    Raises:
        ValueError: If a package is missing, or Weights & Biases refuses.
    """
    known = max(map(place, read_metrics(folder)), default=(-1, False))
    with ExitStack() as stack:
        loggers: list[Callable[..., None]] = []
        if config.track.wandb:
            loggers.append(stack.enter_context(_start_wandb(config, folder)).log)
        if config.track.tensorboard:
            tensorboard = import_extra("torch.utils.tensorboard", extra="track")
            writer = stack.enter_context(tensorboard.SummaryWriter(str(folder / "tensorboard")))

            def write_events(numbers: dict[str, float], step: int) -> None:
                for name, number in numbers.items():
                    writer.add_scalar(name, number, step)
                writer.flush()  # a killed process would take the last two minutes with it

            loggers.append(write_events)

        def send(record: Record) -> None:
            numbers = {name: x for name, x in record.items() if type(x) in (int, float)}
            step = numbers.pop("step")
            for log in loggers if place(record) > known else ():
                log(numbers, step=step)

        yield send


def _start_wandb(config: Config, folder: Path) -> Any:  # noqa: ANN401  a class of an extra
    wandb = import_extra("wandb", extra="track")
    settings, id_file = config.track, folder / "wandb-id"  # by it a resumed run is the same one
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
        raise with_hint(ValueError(f"wandb: {error}"), "try --track.wandb_mode offline") from error
    replace_file(id_file, run.id.encode())
    return run
