"""A model to begin from: a run of ours, or a folder of Hugging Face's."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from minillm.checkpoint import list_checkpoints
from minillm.config import Config, ModelConfig, load_config
from minillm.interop.hugging_face import CONFIG, read_hugging_face, read_shape
from minillm.interop.parts import Parts
from minillm.interop.run_folder import read_run
from minillm.messages import with_hint
from minillm.tokenizer import TextEncoder, Tokenizer


def is_hugging_face(path: Path) -> bool:
    """Whether `path` is a Hugging Face folder and not a run: it has their configuration."""
    return (path / CONFIG).is_file()


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
