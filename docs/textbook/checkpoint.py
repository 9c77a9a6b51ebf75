"""A checkpoint in one file, of any module and any optimizer: for scripts and courses.

`minillm.checkpoint` is what training uses: verified, rotated, with data order and generators. This
one holds a model, an optimizer and a step count, goes to a path or into an open file, and knows
nothing of configurations. It is a safetensors file, so that loading one cannot run code, as
unpickling could: the tensors of the optimizer's state under their place in it, the rest as JSON in
the header.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from minillm.checkpoint.folder import CheckpointError
from minillm.checkpoint.tensors import Tensors, load_model_tensors, model_tensors
from minillm.files import replace_file


def save_single_file(
    out: str | os.PathLike[str] | BinaryIO,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    """Writes model, optimizer and step; to a path atomically, what was there staying till the end.

    Args:
        out: A path, or a file opened for writing bytes.
        model: Its parameters and saved buffers are written.
        optimizer: Its whole `state_dict` is written.
        step: Steps done.

    Raises:
        ValueError: If the optimizer's state holds what is neither a tensor nor plain data.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model_tensors(model).items()}
    state = _take_tensors(optimizer.state_dict(), "optimizer", tensors)
    content = save(tensors, {"step": json.dumps(step), "optimizer": json.dumps(state)})
    if isinstance(out, str | os.PathLike):
        replace_file(Path(out), content)
    else:
        out.write(content)


def load_single_file(
    source: str | os.PathLike[str] | BinaryIO, *, model: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Puts back what `save_single_file` wrote, into a model and an optimizer built the same way.

    Args:
        source: A path, or a file opened for reading bytes.
        model: Must have exactly the tensors of the one that was saved.
        optimizer: Must have as many groups and parameters.

    Returns:
        Steps done.

    Raises:
        ValueError: If it is no such file, or does not fit; naming the first tensor that does not.
        OSError: If it cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        shown, content = f"`{os.fspath(source)}`", Path(source).read_bytes()
    else:
        shown, content = "the file", source.read()
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        step = int(header["__metadata__"]["step"])
        state = _put_tensors(json.loads(header["__metadata__"]["optimizer"]), tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{shown} is no single-file checkpoint: {error}") from error
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    load_model_tensors(model, {name.removeprefix("model."): weights[name] for name in weights})
    optimizer.load_state_dict(state)
    return step


def _take_tensors(value: Any, name: str, tensors: Tensors) -> Any:  # noqa: ANN401 - any tree
    """Moves the tensors of nested data into `tensors`, and says in JSON where they were."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, dict):  # as pairs: in JSON keys would turn into text
        pairs = value.items()
        return {"dict": [[key, _take_tensors(v, f"{name}.{key}", tensors)] for key, v in pairs]}
    if isinstance(value, list | tuple):
        items = [_take_tensors(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"`{name}` is a {type(value).__name__}, expected tensors and plain data")


def _put_tensors(value: Any, tensors: Tensors) -> Any:  # noqa: ANN401 - any tree
    """Undoes `_take_tensors`."""
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_tensors(item, tensors) for key, item in content}
    items = [_put_tensors(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
