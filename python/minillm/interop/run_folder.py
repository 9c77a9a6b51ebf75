"""Run folders as one side of the exchange: weights alone, at step 0 when they come from outside."""

from pathlib import Path
from typing import cast

from minillm.checkpoint import model_tensors, save_checkpoint
from minillm.config import Config, dump_yaml
from minillm.files import write_file, written_aside
from minillm.infer import load_run
from minillm.interop.parts import CHAT_TEMPLATE, Parts, refuse_existing
from minillm.tokenizer import Tokenizer


def read_run(path: Path) -> Parts:
    """The model of a run's newest sound checkpoint, or of one checkpoint.

    Raises:
        ValueError: As for `load_run`.
    """
    loaded = load_run(path)
    folder = path.parent if (path / "manifest.json").is_file() else path
    template = folder / CHAT_TEMPLATE
    return Parts(
        model=loaded.config.model,
        tensors=model_tensors(loaded.model),
        tokenizer=cast(Tokenizer, loaded.tokenizer),  # no other kind was passed in
        chat_template=template.read_text(encoding="utf-8") if template.is_file() else None,
        sample=loaded.config.sample,
    )


def write_run(target: Path, parts: Parts) -> None:
    """Writes a run folder that generates and chats, and that other runs begin from.

    Weights become float32, as training keeps them.

    Raises:
        ValueError: If `target` exists, or there is no tokenizer.
        OSError: If it cannot be written.
    """
    refuse_existing(target)
    if parts.tokenizer is None:
        raise ValueError(
            f"`{target}` would be a run without a tokenizer: there is no tokenizer.json"
        )
    weights = {name: tensor.float().contiguous() for name, tensor in parts.tensors.items()}
    config_yaml = dump_yaml(Config(model=parts.model, sample=parts.sample))
    with written_aside(target) as aside:
        aside.mkdir()
        write_file(aside / "config.yaml", config_yaml.encode())
        parts.tokenizer.save(aside / "tokenizer.json")
        if parts.chat_template is not None:
            write_file(aside / CHAT_TEMPLATE, parts.chat_template.encode())
        save_checkpoint(
            aside,
            step=0,
            tensors={"model": weights},
            state={"step": 0, "elapsed_s": 0.0},
            config_yaml=config_yaml,
            hashes={"tokenizer": parts.tokenizer.sha256},
            keep=1,
        )
