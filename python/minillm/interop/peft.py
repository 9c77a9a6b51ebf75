"""Adapters in the format of Hugging Face's PEFT: a folder beside the model that they change.

    adapter_config.json  adapter_model.safetensors

The factors are theirs as they are ours, under their names. Where they keep one matrix for several
of ours (GPT-2's query, key and value), its factors are ours joined: A below A, and the B's in a
block diagonal, of as many times the rank.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import pad

from minillm.checkpoint.files import read_tensors, write_tensors
from minillm.config import LoraConfig, ModelConfig, load_config, validated
from minillm.config.messages import did_you_mean
from minillm.config.section import Section
from minillm.files import read_json, write_file, written_aside
from minillm.infer.run import find_checkpoint
from minillm.interop.architectures import PEFT_IDLE_KEYS, Architecture
from minillm.interop.parts import refuse_existing, refuse_pickles
from minillm.interop.shape import architecture_of
from minillm.interop.weights import DTYPES, DTYPES_SHOWN, shapes_of, slots
from minillm.messages import with_hint
from minillm.model import Transformer
from minillm.model.lora import ADAPTER, Adapted, adapter_names, add_adapter

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_KEYS = ("lora_A", "lora_B", "magnitude")


def export_adapter(source: Path, target: Path) -> None:
    """Writes the adapter of a run, or of one of its checkpoints; see `write_peft`.

    Raises:
        ValueError: If it has none.
    """
    checkpoint = find_checkpoint(source)
    config = load_config(file=checkpoint.path / "config.yaml")
    if not config.lora.rank:
        raise ValueError(f"`{source}` has no adapter: lora.rank is 0, all weights were trained")
    base = str(config.train.init_from)
    write_peft(target, config.model, config.lora, checkpoint.tensors("model"), base)


def write_peft(
    target: Path, model: ModelConfig, config: LoraConfig, learned: Mapping[str, Tensor], base: str
) -> None:
    """Writes a run's adapter, which PEFT loads onto an export of the model that it changes.

    Args:
        target: The new folder.
        model: Shape of the model.
        config: Shape of the adapter.
        learned: What a checkpoint holds of it, such as `lm_head.adapters.default.lora_A`.
        base: Where PEFT is to find the model.

    Raises:
        ValueError: If `target` exists, or PEFT has no place for it.
    """
    refuse_existing(target)
    architecture, root = architecture_of(model, base), 0.5 if config.kind == "rslora" else 1.0
    _refuse_tied(model, [name.partition(".adapters.")[0] for name in learned])
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for module, paths, expert in _modules(model, architecture):
        prefixes = [f"{path}.adapters.{ADAPTER}." for path in paths]
        missing = [prefix for prefix in prefixes if f"{prefix}lora_A" not in learned]
        if missing == prefixes:
            continue
        if missing:
            raise ValueError(f"`{module}` is one to PEFT: adapt all of {', '.join(paths)}, or none")
        for name, key in zip(_names(module), _KEYS, strict=True):
            parts = [learned[prefix + key] for prefix in prefixes if prefix + key in learned]
            parts = parts if expert is None else [part[expert] for part in parts]
            if parts:
                joined = torch.block_diag(*parts) if key == "lora_B" else torch.cat(parts)
                tensors[_PREFIX + name] = joined.contiguous()
        ranks[module] = len(tensors[_PREFIX + _names(module)[0]])
    other = {module: rank for module, rank in ranks.items() if rank != config.rank}
    keys = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": list(ranks),
        "rank_pattern": other,
        "alpha_pattern": {module: config.scale * rank**root for module, rank in other.items()},
        "use_rslora": config.kind == "rslora",
        "use_dora": config.kind == "dora",
        "fan_in_fan_out": architecture.stores_by_input,
        "bias": "none",
    }
    with written_aside(target) as aside:
        aside.mkdir()
        write_tensors(aside / WEIGHTS, tensors)
        write_file(aside / CONFIG, (json.dumps(keys, indent=2) + "\n").encode())


def load_peft(folder: Path, model: Transformer, name: str) -> None:
    """Lays an adapter of PEFT's beside the weights of a model, as the active one.

    One whose matrices differ in rank gets the highest, the others filled up with zeros.

    Raises:
        ValueError: Naming the key that is not computed here, or the tensor that has no place.
    """
    keys, theirs = _read_keys(folder / CONFIG), _read_tensors(folder)
    architecture, shapes = architecture_of(model.config, str(folder)), shapes_of(model.config)
    modules = {module: paths for module, paths, _ in _modules(model.config, architecture)}
    _drop_copies(theirs, modules, model)
    names = {module: _names(module)[: 3 if keys.use_dora else 2] for module in modules}
    # One expert of a stack stands for all of them.
    used = {path for m, paths in modules.items() if theirs.keys() & names[m] for path in paths}
    try:
        scales = {m: keys.scale(m) for m, paths in modules.items() if used.intersection(paths)}
    except re.error as error:
        raise ValueError(f"`{folder / CONFIG}`: {error.pattern!r} is no regex: {error}") from error
    highest = max((rank for rank, _ in scales.values()), default=0)
    found: dict[str, dict[str, list[Tensor]]] = {}
    for module, (rank, scale) in scales.items():
        rows = [shapes[f"{path}.weight"][-2] for path in modules[module]]
        d_out, d_in = sum(rows), shapes[f"{modules[module][0]}.weight"][-1]
        if "lora_embedding" in names[module][0]:  # of the table's transpose
            (d_in,), rows = rows, [d_out := d_in]
        for key, shape in zip(names[module], ([rank, d_in], [d_out, rank], [d_out]), strict=False):
            if key not in theirs:
                raise ValueError(f"`{folder}` lacks a factor of `{module}`")
            if (found_shape := list(theirs[key].shape)) != shape:
                problem = f"`{key}` is {found_shape}, expected {shape}"
                raise ValueError(f"`{folder}` does not fit its {CONFIG} or the model: {problem}")
        a, b, *lengths = (theirs.pop(key).float() for key in names[module])
        a, b = pad(a, (0, 0, 0, highest - rank)), pad(b * scale, (0, highest - rank))
        split = zip(*(whole.split(rows) for whole in (b, *lengths)), strict=True)
        for path, part in zip(modules[module], split, strict=True):
            for key, tensor in zip(_KEYS, (a, *part), strict=False):
                found.setdefault(path, {}).setdefault(key, []).append(tensor)
    if theirs or not found:
        unknown = next(iter(theirs), "nothing")
        raise ValueError(
            f"`{folder}` adapts `{unknown}`, which the model does not have"
            + did_you_mean(unknown.partition(".lora_")[0], modules)
        )
    _refuse_tied(model.config, found)
    # The scale is in B already, which may have another one in each layer.
    config = LoraConfig(rank=highest, alpha=highest, targets=tuple(found))
    add_adapter(model, name, config.model_copy(update={"kind": "dora"} if keys.use_dora else {}))
    for path, parts in found.items():
        is_stack = len(shapes[f"{path}.weight"]) == 3
        state = {key: torch.stack(p) if is_stack else p[0] for key, p in parts.items()}
        cast("Adapted", model.get_submodule(path)).adapters[name].load_state_dict(state)


def lay_adapters(folders: Iterable[Path], model: Transformer) -> None:
    """Lays adapters of PEFT's beside the weights of a model, named by their folders.

    A second folder of one name is called `NAME_2`.

    Raises:
        ValueError: If one cannot be read, or fits no model of this shape.
    """
    for folder in folders:
        name, taken = re.sub(r"\W", "_", folder.resolve().name), adapter_names(model)
        names = (name, *(f"{name}_{number}" for number in range(2, len(taken) + 2)))
        load_peft(folder, model, next(name for name in names if name not in taken))
    model.eval()


class _Keys(Section):
    """What in `adapter_config.json` decides what is computed."""

    peft_type: Literal["LORA"]
    r: PositiveInt
    lora_alpha: PositiveFloat
    rank_pattern: dict[str, PositiveInt] = Field({})
    alpha_pattern: dict[str, PositiveFloat] = Field({})
    use_rslora: bool = False
    use_dora: bool = False
    bias: Literal["none"] = "none"
    init_lora_weights: Literal[True, False, "gaussian", "orthogonal", "eva"] = True

    def scale(self, module: str) -> tuple[int, float]:
        """Rank and scale of a matrix, by the first pattern that fits whole words at its end."""

        def fits(pattern: str) -> bool:
            return re.match(rf"(.*\.)?({pattern})$", module) is not None  # as PEFT does it

        rank = next((v for key, v in self.rank_pattern.items() if fits(key)), self.r)
        alpha = next((v for key, v in self.alpha_pattern.items() if fits(key)), self.lora_alpha)
        return rank, alpha / (rank**0.5 if self.use_rslora else rank)


def _read_keys(file: Path) -> _Keys:
    keys = {key: value for key, value in read_json(file).items() if value is not None}
    known = {key: keys.pop(key) for key in _Keys.model_fields if key in keys}
    if odd := [key for key, value in keys.items() if value and key not in PEFT_IDLE_KEYS]:
        raise ValueError(f"`{file}`: `{odd[0]}` is set, only LoRA's factors are read")
    return validated(_Keys, known, lambda _: f" in `{file}`")


def _drop_copies(
    theirs: dict[str, Tensor], modules: Mapping[str, list[str]], model: Transformer
) -> None:
    """Drops weights of the model's own, which PEFT stores with an adapter of a table."""
    for name in [name for name in theirs if ".lora_" not in name]:
        for path in modules.get(re.sub(r"(\.base_layer)?\.weight$", "", name), ()):
            own = model.get_submodule(path).get_parameter("weight").cpu()
            if torch.equal(own.to(theirs[name].dtype), theirs[name]):
                del theirs[name]


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    file = folder / WEIGHTS
    if not file.is_file():
        refuse_pickles(folder, "PeftModel.from_pretrained(MODEL, FOLDER)")
        raise ValueError(f"`{folder}` holds no adapter: there is no {WEIGHTS}")
    tensors = {key.removeprefix(_PREFIX): t for key, t in read_tensors(file).items()}
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(f"`{file}`: `{name}` is {tensor.dtype}, expected {DTYPES_SHOWN}")
    return tensors


def _modules(
    model: ModelConfig, architecture: Architecture
) -> Iterator[tuple[str, list[str], int | None]]:
    """Each matrix of theirs: its name, the layers of ours that it holds, and the expert."""
    for slot in slots(architecture, model.n_layers, shapes_of(model)):
        module, dot, _ = slot.theirs.rpartition(".weight")
        if dot:
            yield module, [name.removesuffix(".weight") for name in slot.ours], slot.expert


def _names(module: str) -> tuple[str, str, str]:
    """Their names of both factors and of DoRA's lengths; a table's factors are no modules."""
    a, b = ("lora_A.weight", "lora_B.weight")
    if module.endswith(("embed_tokens", "wte", "wpe")):
        a, b = "lora_embedding_A", "lora_embedding_B"
    return f"{module}.{a}", f"{module}.{b}", f"{module}.lora_magnitude_vector"


def _refuse_tied(model: ModelConfig, paths: Iterable[str]) -> None:
    if model.tie_embeddings and "embed_tokens" in paths:
        error = ValueError("an adapter of a tied embedding changes the head here, and not in PEFT")
        raise with_hint(error, "let `minillm convert` merge it, and exchange the whole model")
