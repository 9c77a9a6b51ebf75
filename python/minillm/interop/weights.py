"""Weights under other people's names: renamed, joined, turned over, split, and back.

Ours are one tensor a projection, shaped as Hugging Face shapes them, so a table of names says
nearly all. What is left: GPT-2 keeps query, key and value in one matrix, stored (d_in, d_out), and
experts are a stack here and single tensors there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from minillm.checkpoint import model_tensors
from minillm.config import ModelConfig
from minillm.interop.architectures import Architecture
from minillm.model import build_on_meta

SHOWN = 3
"""Names in a message; a broken file may lack thousands."""

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
DTYPES_SHOWN = "float32, float16 or bfloat16"

Shapes = Mapping[str, torch.Size]


class Slot(NamedTuple):
    """One tensor of theirs: which of ours it holds, and how."""

    theirs: str
    ours: tuple[str, ...]
    expert: int | None
    is_turned: bool


def shapes_of(model: ModelConfig) -> dict[str, torch.Size]:
    """Each weight of a model of this shape; nothing is allocated."""
    return {name: tensor.shape for name, tensor in model_tensors(build_on_meta(model)).items()}


def slots(architecture: Architecture, n_layers: int, shapes: Shapes) -> Iterator[Slot]:
    """Every tensor of theirs that a model with these weights of ours needs."""
    for theirs, ours in architecture.weights.items():
        in_layer = "{n}" in theirs
        for layer in range(n_layers if in_layer else 1):
            names = [name.replace("{n}", str(layer)) for name in ours]
            for part in (".weight", ".bias"):
                shape = shapes.get(names[0] + part)
                if shape is None:
                    continue
                turned = architecture.stores_by_input and in_layer and len(shape) == 2
                for expert in range(shape[0]) if "{e}" in theirs else (None,):
                    name = theirs.replace("{n}", str(layer)).replace("{e}", str(expert))
                    whole = tuple(name + part for name in names)
                    yield Slot(name + part, whole, expert, turned)


def to_theirs(
    architecture: Architecture,
    model: ModelConfig,
    tensors: Mapping[str, Tensor],
    *,
    by_input: bool = True,
) -> dict[str, Tensor]:
    """Our weights under the architecture's names; each its own memory, as safetensors wants it.

    Args:
        architecture: Whose names they get.
        model: Their shape.
        tensors: The weights.
        by_input: Turn matrices over where the architecture stores them (d_in, d_out).

    Raises:
        ValueError: Naming weights that it has no place for.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    theirs, homeless = {}, set(tensors)
    for slot in slots(architecture, model.n_layers, shapes):
        homeless -= set(slot.ours)
        parts = [tensors[name] for name in slot.ours]
        if slot.expert is not None:
            parts = [part[slot.expert] for part in parts]
        joined = torch.cat(parts)
        theirs[slot.theirs] = joined.mT.contiguous() if slot.is_turned and by_input else joined
    _refuse(architecture.class_name, "has no place for", sorted(homeless))
    return theirs


def to_ours(
    architecture: Architecture, model: ModelConfig, theirs: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """The weights of a file under our names, in the dtype they have there.

    Args:
        architecture: Whose names they have.
        model: The shape that they should have.
        theirs: All tensors of the file.
        source: How messages name the file.

    Raises:
        ValueError: Naming tensors that are missing, unknown, or of another shape or type.
    """
    theirs = _with_prefix(architecture, theirs)
    # Before anything of a size is built that is only said to be there.
    said = f"`{source}`: its config.json describes"
    n_layers, n_tensors = model.n_layers, len(theirs)
    if n_layers > n_tensors:
        raise ValueError(f"{said} {n_layers:,} layers, its weights are {n_tensors:,} tensors")
    held = sum(tensor.numel() for tensor in theirs.values())
    described = _fewest_parameters(model)
    if described > 2 * held:
        raise ValueError(f"{said} {described:,} parameters or more, its weights hold {held:,}")
    shapes = shapes_of(model)
    ours: dict[str, list[Tensor]] = {name: [] for name in shapes}
    expected = list(slots(architecture, model.n_layers, shapes))
    unknown = set(theirs) - {slot.theirs for slot in expected}
    unknown = {name for name in unknown if not re.search(architecture.no_weights, name)}
    if model.tie_embeddings and "lm_head.weight" in unknown:
        _check_tied(architecture, theirs, source)
        unknown.remove("lm_head.weight")
    _refuse(source, "lacks", [slot.theirs for slot in expected if slot.theirs not in theirs])
    _refuse(source, "holds, and a model of its config.json does not have,", sorted(unknown))
    for slot in expected:
        tensor = _checked(slot, theirs[slot.theirs], shapes, source)
        rows = [shapes[name][0] for name in slot.ours]
        parts = tensor.split(rows) if slot.expert is None else [tensor]
        for name, part in zip(slot.ours, parts, strict=True):
            ours[name].append(part)
    return {
        name: torch.stack(parts) if len(shapes[name]) == 3 else parts[0]
        for name, parts in ours.items()
    }


def _with_prefix(architecture: Architecture, theirs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names in full: a file saved from the model without its head leaves the first word out."""
    if any(name.startswith(architecture.prefix) for name in theirs):
        return theirs
    return {
        name if name.startswith("lm_head.") else architecture.prefix + name: tensor
        for name, tensor in theirs.items()
    }


def _check_tied(architecture: Architecture, theirs: Mapping[str, Tensor], source: str) -> None:
    """A tied head that is stored all the same must be the embedding."""
    name = f"{next(iter(architecture.weights))}.weight"
    if name not in theirs or not torch.equal(theirs["lm_head.weight"], theirs[name]):
        problem = f"`lm_head.weight` is not `{name}`, although tie_word_embeddings says so"
        raise ValueError(f"`{source}`: {problem}")


def _refuse(source: str, problem: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise ValueError(f"`{source}` {problem} `{'`, `'.join(names[:SHOWN])}`{more}")


def _checked(slot: Slot, tensor: Tensor, shapes: Shapes, source: str) -> Tensor:
    """The tensor as we store it, (d_out, d_in)."""
    expected = list(shapes[slot.ours[0]][1:])
    if slot.expert is None:
        expected.insert(0, sum(shapes[name][0] for name in slot.ours))
    if slot.is_turned:
        expected.reverse()
    found = f"`{source}`: `{slot.theirs}` is"
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{found} {tensor.dtype}, expected {DTYPES_SHOWN}")
    if (shape := list(tensor.shape)) != expected:
        raise ValueError(f"{found} {shape}, by its config.json it should be {expected}")
    return tensor.mT if slot.is_turned else tensor


def _fewest_parameters(model: ModelConfig) -> int:
    """Less than a model of this shape has, by arithmetic: sizes may be beyond any tensor."""
    hidden = model.n_experts * model.d_expert if model.n_experts else model.d_ff
    n_layers = model.n_layers - model.n_dense_layers
    return model.d_model * (model.vocab_size + n_layers * (model.n_heads * model.d_head + hidden))
