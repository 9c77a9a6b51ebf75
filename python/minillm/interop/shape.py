"""A model's shape in other people's words: `config.json` to the `model` section, and back.

Strict on the way in: a key that no table knows may change what the model computes, so it is refused
by name. On the way out a shape is translated there and back, and what does not come back as it was
is what the other side cannot express.
"""

from collections.abc import Mapping
from typing import Any

from minillm.config import ModelConfig, validated
from minillm.config.rules import is_idle
from minillm.files import named_in_errors
from minillm.interop.architectures import (
    ALIASES,
    ARCHITECTURES,
    FREE_FIELDS,
    IDLE_KEYS,
    RAMPS,
    REQUIRED,
    Architecture,
)

_ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters")


def to_keys(architecture: Architecture, model: ModelConfig) -> dict[str, Any]:
    """What the architecture's `config.json` says of a model, fields that it lacks left out."""
    keys: dict[str, Any] = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
    }
    for key, (field, _) in architecture.keys.items():
        keys[key] = getattr(model, field)
    if "mlp_only_layers" in keys:  # theirs may stand anywhere, ours are the first ones
        keys["mlp_only_layers"] = list(range(model.n_dense_layers))
    for key, (value, *_) in architecture.constants.items():
        if value is not None:
            keys[key] = value
    if architecture.fixed["position"] == "rope":
        keys |= _rope_keys(model)
    return keys


def from_keys(architecture: Architecture, keys: Mapping[str, Any], source: str) -> ModelConfig:
    """The shape that a `config.json` describes.

    Args:
        architecture: The one that it names.
        keys: What it holds.
        source: How messages name it.

    Raises:
        ValueError: If it lacks a key, has one that is not known here, or asks for a computation
            that is not done here.
    """
    keys = {ALIASES.get(key, key): value for key, value in keys.items()}
    rope = architecture.fixed["position"] == "rope"
    known = {*architecture.keys, *architecture.constants, *IDLE_KEYS, *(_ROPE_KEYS if rope else ())}
    if unknown := [key for key in keys if key not in known]:
        raise ValueError(
            f"`{source}`: unknown key `{'`, `'.join(unknown[:3])}`: what it changes in the model"
            " is not known here"
        )
    for key, allowed in architecture.constants.items():
        value = keys.get(key, allowed[0])
        for item in value if isinstance(value, list) else [value]:
            if item not in allowed:
                raise ValueError(
                    f"`{source}`: `{key}` is {item!r}, a {architecture.model_type} model here has"
                    f" {allowed[-1]!r}"
                )
    if isinstance(layers := keys.get("mlp_only_layers"), list):
        if layers != list(range(len(layers))):
            raise ValueError(f"`{source}`: `mlp_only_layers` is {layers}, not the first layers")
        keys["mlp_only_layers"] = len(layers)
    fields = {**architecture.fixed, **(_rope_fields(keys, source) if rope else {})}
    names = {}
    for key, (field, default) in architecture.keys.items():
        value = default if keys.get(key) is None else keys[key]
        if value is REQUIRED:
            raise ValueError(f"`{source}` lacks `{key}`")
        if value is not None:
            fields[field], names[field] = value, f" (`{key}` in `{source}`)"
    with named_in_errors(source):
        return validated(ModelConfig, fields, lambda field: names.get(field, f" in `{source}`"))


def architecture_of(model: ModelConfig, source: str) -> Architecture:
    """The architecture that computes what `model` computes.

    Raises:
        ValueError: If there is none, with the fields that the nearest one cannot express.
    """
    lost = {name: _lost_fields(table, model) for name, table in ARCHITECTURES.items()}
    nearest = min(lost, key=lambda name: len(lost[name]))
    if lost[nearest]:
        fields = ", ".join(f"model.{name} ({getattr(model, name)})" for name in lost[nearest])
        raise ValueError(
            f"`{source}` has no counterpart elsewhere: {ARCHITECTURES[nearest].class_name}, the"
            f" nearest, cannot express {fields}"
        )
    return ARCHITECTURES[nearest]


def _lost_fields(architecture: Architecture, model: ModelConfig) -> list[str]:
    """Fields that do not come back from a way there and back."""
    kept = {field: getattr(model, field) for field, _ in architecture.keys.values()}
    if architecture.fixed["position"] == "rope":
        kept |= _rope_fields(_rope_keys(model), source="")
    # Not validated: what has been lost may not fit together.
    again = ModelConfig.model_construct(**{**kept, **architecture.fixed})
    return [
        name
        for name in type(model).model_fields
        if name not in FREE_FIELDS
        and getattr(again, name) != getattr(model, name)
        and not is_idle(f"model.{name}", model)
    ]


def _rope_keys(model: ModelConfig) -> dict[str, Any]:
    """RoPE's settings as transformers 4 has them, which every release reads."""
    kind, theta = model.rope_scaling, {"rope_theta": model.rope_theta}
    if kind in ("none", "ntk"):  # theirs has no NTK of a fixed factor
        return theta
    group: dict[str, Any] = {"rope_type": kind, "factor": model.rope_scaling_factor}
    if kind in RAMPS:
        group["original_max_position_embeddings"] = model.rope_original_context
        group |= zip(RAMPS[kind], getattr(model, f"rope_{kind}_ramp"), strict=True)
    return {**theta, "rope_scaling": group}


def _rope_fields(keys: Mapping[str, Any], source: str) -> dict[str, Any]:
    """RoPE's settings, flat until transformers 4 and in a group of their own since."""
    group = keys.get("rope_parameters") or keys.get("rope_scaling") or {}
    if not isinstance(group, dict):
        raise ValueError(f"`{source}`: `rope_parameters` is {group!r}, expected an object")
    group = {key: value for key, value in group.items() if value is not None}
    kind = group.pop("rope_type", group.pop("type", "default"))
    if kind not in ("default", "linear", *RAMPS):
        raise ValueError(
            f"`{source}`: `rope_type` is {kind!r}, expected default, linear, {' or '.join(RAMPS)}"
            " (dynamic NTK scales by the length of each text, which is not done here)"
        )
    theta = group.pop("rope_theta", keys.get("rope_theta"))
    fields = {} if theta is None else {"rope_theta": theta}
    if kind != "default":
        fields |= {"rope_scaling": kind, "rope_scaling_factor": group.pop("factor", None)}
    if kind in RAMPS:
        name, whole = f"rope_{kind}_ramp", keys.get("max_position_embeddings")
        fields["rope_original_context"] = group.pop("original_max_position_embeddings", whole)
        ramp = zip(RAMPS[kind], ModelConfig.model_fields[name].default, strict=True)
        fields[name] = tuple(group.pop(key, default) for key, default in ramp)
    # What else there is may only say what is so without it.
    for key, value in group.items():
        if {"partial_rotary_factor": 1, "truncate": True}.get(key) != value:
            raise ValueError(f"`{source}`: RoPE's `{key}` is {value!r}, which is not computed here")
    return fields
