"""Run folders as one side of the exchange: weights alone, at step 0 when they come from outside.

What a run begins from may be either side, a run of ours or a folder of Hugging Face's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from torch import Tensor

from minillm.checkpoint import list_checkpoints, model_tensors, save_checkpoint
from minillm.config import Config, ModelConfig, dump_yaml, load_config
from minillm.files import write_file, written_aside
from minillm.infer import CHAT_TEMPLATE, load_run
from minillm.interop.hugging_face import CONFIG, read_hugging_face, read_shape
from minillm.interop.parts import Parts, refuse_existing
from minillm.messages import with_hint
from minillm.tokenizer import TextEncoder, Tokenizer


def read_run(path: Path) -> Parts:
    """The model of a run's newest sound checkpoint, or of one checkpoint.

    Raises:
        ValueError: As for `load_run`.
    """
    loaded = load_run(path)
    return Parts(
        model=loaded.config.model,
        tensors=model_tensors(loaded.model),
        tokenizer=cast(Tokenizer, loaded.tokenizer),  # no other kind was passed in
        chat_template=loaded.chat_template,
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
        problem = "would be a run without a tokenizer: there is no tokenizer.json"
        raise ValueError(f"`{target}` {problem}")
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
        )


def is_hugging_face(path: Path) -> bool:
    """Whether `path` is a Hugging Face folder and not a run: it has their configuration alone."""
    return (path / CONFIG).is_file() and not (path / "config.yaml").is_file()


def read_model(path: Path) -> Parts:
    """Reads a run, one of its checkpoints, or a Hugging Face folder.

    Raises:
        ValueError: If it is none of them, or cannot be used; see both readers.
    """
    return read_hugging_face(path) if is_hugging_face(path) else read_run(path)


def initial_shape(path: Path) -> ModelConfig:
    """The shape alone of what `read_model` would read, without its weights.

    Raises:
        ValueError: As for `read_model`.
    """
    if is_hugging_face(path):
        return read_shape(path)[1]
    file = path / "config.yaml"
    return load_config(file=file).model if file.is_file() else read_model(path).model


def initial_weights(config: Config, tokenizer: TextEncoder | None) -> Mapping[str, Tensor] | None:
    """The weights of `train.init_from`; none if the run is past its start.

    Args:
        config: A run's.
        tokenizer: That of its data, if it does not lie beside them.

    Raises:
        ValueError: If the source cannot be used, or its ids mean other tokens than the data's.
    """
    source = config.train.init_from
    if source is None or list_checkpoints(config.train.out_dir):
        return None
    parts = read_model(source)
    file = config.data.path / "tokenizer.json"
    if tokenizer is None and file.is_file():
        tokenizer = Tokenizer.load(file)
    if tokenizer and parts.tokenizer and tokenizer.sha256 != parts.tokenizer.sha256:
        error = ValueError(f"the tokenizer of `{config.data.path}` is not that of `{source}`")
        hint = f"encode the text by `minillm-bpe encode --tokenizer {source / 'tokenizer.json'}`"
        raise with_hint(error, hint)
    return parts.tensors
