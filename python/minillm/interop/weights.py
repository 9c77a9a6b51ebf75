"""Weights under other people's names: renamed, joined, turned over, split, and back.

Ours are one tensor a projection, shaped as Hugging Face shapes them, so a table of names says
nearly all. What is left: GPT-2 keeps query, key and value in one matrix, stored (d_in, d_out), and
experts are a stack here and single tensors there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from minillm.checkpoint import model_tensors
from minillm.config import ModelConfig, parameter_count
from minillm.interop.architectures import Architecture
from minillm.model import Transformer

SHOWN = 3
"""Names in a message; a broken file may lack thousands."""

Shapes = Mapping[str, torch.Size]


class Slot(NamedTuple):
    """One tensor of theirs: which of ours it holds, and how."""

    theirs: str
    ours: tuple[str, ...]
    expert: int | None
    is_turned: bool


def shapes_of(model: ModelConfig) -> dict[str, torch.Size]:
    """Each weight of a model of this shape; nothing is allocated."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in model_tensors(Transformer(model)).items()}


def slots(architecture: Architecture, n_layers: int, shapes: Shapes) -> Iterator[Slot]:
    """Every tensor of theirs that a model with these weights of ours needs, layer by layer."""
    per_layer = {theirs: ours for theirs, ours in architecture.weights.items() if "{n}" in theirs}
    for theirs, ours in architecture.weights.items():
        if theirs not in per_layer:
            yield from _slots_of(theirs, ours, shapes)
    for layer in range(n_layers):
        for theirs, ours in per_layer.items():
            names = tuple(name.replace("{n}", str(layer)) for name in ours)
            for slot in _slots_of(theirs.replace("{n}", str(layer)), names, shapes):
                is_matrix = len(shapes[slot.ours[0]]) == 2
                yield slot._replace(is_turned=architecture.stores_by_input and is_matrix)


def _slots_of(theirs: str, ours: tuple[str, ...], shapes: Shapes) -> Iterator[Slot]:
    for part in (".weight", ".bias"):
        if ours[0] + part in shapes:
            yield Slot(theirs + part, tuple(name + part for name in ours), None, False)
    if ours[0] in shapes:  # a stack of experts
        for expert in range(shapes[ours[0]][0]):
            yield Slot(f"{theirs.replace('{e}', str(expert))}.weight", ours, expert, False)


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
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    theirs = {}
    for slot in slots(architecture, model.n_layers, shapes):
        parts = [tensors[name] for name in slot.ours]
        if slot.expert is not None:
            parts = [part[slot.expert] for part in parts]
        joined = torch.cat(parts)
        theirs[slot.theirs] = joined.mT.contiguous() if slot.is_turned and by_input else joined
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
    held = sum(tensor.numel() for tensor in theirs.values())
    if parameter_count(model) > 2 * held:  # before a module of that size is built
        raise ValueError(
            f"`{source}`: its config.json describes {parameter_count(model):,} parameters, its"
            f" weights hold {held:,}"
        )
    shapes = shapes_of(model)
    ours: dict[str, list[Tensor]] = {name: [] for name in shapes}
    expected = list(slots(architecture, model.n_layers, shapes))
    unknown = set(theirs) - {slot.theirs for slot in expected}
    unknown = {name for name in unknown if not re.search(architecture.no_weights, name)}
    if model.tie_embeddings and "lm_head.weight" in unknown:
        _check_tied(architecture, theirs, source)
        unknown.remove("lm_head.weight")
    _refuse(source, "lacks", (slot.theirs for slot in expected if slot.theirs not in theirs))
    _refuse(source, "holds, and a model of its config.json does not have,", sorted(unknown))
    for slot in expected:
        tensor = _checked(slot, theirs[slot.theirs], shapes, source)
        rows = [shapes[name][0 if slot.expert is None else 1] for name in slot.ours]
        for name, part in zip(slot.ours, tensor.split(rows), strict=True):
            ours[name].append(part)
    return {
        name: torch.stack(parts) if len(parts) > 1 or len(shapes[name]) == 3 else parts[0]
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
    (name,) = [name for name, ours in architecture.weights.items() if ours == ("embed_tokens",)]
    embedding = theirs.get(f"{name}.weight")
    if embedding is None or not torch.equal(theirs["lm_head.weight"], embedding):
        raise ValueError(
            f"`{source}`: `lm_head.weight` is not `{name}.weight`, although tie_word_embeddings"
            " says so"
        )


def _refuse(source: str, problem: str, names: Iterable[str]) -> None:
    if found := list(names):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ValueError(f"`{source}` {problem} `{'`, `'.join(found[:SHOWN])}`{more}")


def _checked(slot: Slot, tensor: Tensor, shapes: Shapes, source: str) -> Tensor:
    """The tensor as we store it, (d_out, d_in)."""
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(
            f"`{source}`: `{slot.theirs}` is {tensor.dtype}, expected float32, float16 or bfloat16"
        )
    first, *rest = shapes[slot.ours[0]] if slot.expert is None else shapes[slot.ours[0]][1:]
    if slot.expert is None:
        first = sum(shapes[name][0] for name in slot.ours)
    expected = [first, *rest]
    if slot.is_turned:
        expected.reverse()
    if list(tensor.shape) != expected:
        raise ValueError(
            f"`{source}`: `{slot.theirs}` is {list(tensor.shape)}, by its config.json it should"
            f" be {expected}"
        )
    return tensor.mT if slot.is_turned else tensor
