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

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from minillm.checkpoint.files import write_tensors
from minillm.config import LoraConfig, ModelConfig, load_config
from minillm.config.messages import did_you_mean
from minillm.files import write_file, written_aside
from minillm.infer.run import find_checkpoint
from minillm.interop.architectures import Architecture
from minillm.interop.parts import refuse_existing
from minillm.interop.shape import architecture_of
from minillm.interop.weights import shapes_of, slots
from minillm.messages import with_hint
from minillm.model import Transformer
from minillm.model.lora import ADAPTER, add_adapter

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_KEYS = ("lora_A", "lora_B", "magnitude")
_FOREIGN = ("modules_to_save", "lora_bias", "target_parameters", "trainable_token_indices")
"""Keys of theirs by which a file holds what is no factor."""


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
    try:
        keys = json.loads((folder / CONFIG).read_bytes())
        theirs = {key.removeprefix(_PREFIX): t for key, t in load_file(folder / WEIGHTS).items()}
        root = 0.5 if keys.get("use_rslora") else 1.0
        kind = "dora" if keys.get("use_dora") else "rslora" if root < 1 else "lora"
        rank = max((t.shape[-2] for key, t in theirs.items() if "_A" in key), default=keys["r"])
        alpha = keys["lora_alpha"] * (rank / keys["r"]) ** root
        config = LoraConfig.model_validate({"rank": rank, "alpha": alpha, "kind": kind})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"`{folder}` holds no adapter that can be read: {error}") from error
    if odd := [key for key in _FOREIGN if keys.get(key)]:
        raise ValueError(f"`{folder / CONFIG}`: `{odd[0]}` is set, only LoRA's factors are read")
    architecture, shapes = architecture_of(model.config, str(folder)), shapes_of(model.config)
    modules = list(_modules(model.config, architecture))
    found: dict[str, dict[str, list[Tensor]]] = {}
    for module, paths, _ in modules:
        factors = [theirs.pop(name) for name in _names(module) if name in theirs]
        if not factors:
            continue
        if len(factors) < (3 if kind == "dora" else 2):
            raise ValueError(f"`{folder}` lacks a factor of `{module}`")
        a, b, *lengths = factors
        patterns = keys.get("alpha_pattern", {}).items()  # of names, or of their ends
        of_alpha = next((v for key, v in patterns if module.endswith(key)), keys["lora_alpha"])
        b = pad(b * (of_alpha / len(a) ** root / config.scale), (0, rank - len(a)))
        a = pad(a, (0, 0, 0, rank - len(a)))
        rows = [shapes[f"{path}.weight"][0] for path in paths] if len(paths) > 1 else [len(b)]
        split = zip(*(whole.split(rows) for whole in (b, *lengths)), strict=True)
        for path, part in zip(paths, split, strict=True):
            for key, tensor in zip(_KEYS, (a, *part), strict=False):
                found.setdefault(path, {}).setdefault(key, []).append(tensor)
    if theirs or not found:
        unknown = next(iter(theirs), "nothing")
        raise ValueError(
            f"`{folder}` adapts `{unknown}`, which the model does not have"
            + did_you_mean(unknown.partition(".lora_")[0], [module for module, *_ in modules])
        )
    _refuse_tied(model.config, found)
    add_adapter(model, name, config.model_copy(update={"targets": tuple(found)}))
    for path, parts in found.items():
        adapter = model.get_submodule(f"{path}.adapters.{name}")
        is_stack = len(shapes[f"{path}.weight"]) == 3
        state = {key: torch.stack(p) if is_stack else p[0] for key, p in parts.items()}
        try:
            adapter.load_state_dict(state)
        except RuntimeError as error:  # its text names the tensors and both shapes
            raise ValueError(f"`{folder}`: `{path}` does not fit: {error}") from error


def lay_adapters(folders: Iterable[Path], model: Transformer) -> None:
    """Lays adapters of PEFT's beside the weights of a model, named by their folders.

    Raises:
        ValueError: If one cannot be read, or fits no model of this shape.
    """
    for folder in folders:
        load_peft(folder, model, re.sub(r"\W", "_", folder.resolve().name))
    model.eval()


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
