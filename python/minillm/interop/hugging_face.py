"""Hugging Face's model folders, read and written.

    config.json  generation_config.json  README.md
    model.safetensors, or model-00001-of-00002.safetensors .. and model.safetensors.index.json
    tokenizer.json  tokenizer_config.json  chat_template.jinja

A folder from elsewhere is data and stays data: no code of its own is run (`auto_map` is refused),
no pickle is opened, and every size that it states is held against what it holds. A folder that we
write is read again, and compared, before it gets its name.
"""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minillm.checkpoint.files import read_tensors, write_tensors
from minillm.config import ModelConfig, SampleConfig, validated
from minillm.files import named_in_errors, read_json, write_file, written_aside
from minillm.infer import CHAT_TEMPLATE
from minillm.interop.architectures import ARCHITECTURES, Architecture
from minillm.interop.parts import Parts, refuse_existing, refuse_pickles
from minillm.interop.shape import architecture_of, from_keys, to_keys
from minillm.interop.weights import to_ours, to_theirs
from minillm.messages import with_hint
from minillm.model import model_size
from minillm.tokenizer import Tokenizer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_SAMPLING = ("repetition_penalty", "max_new_tokens")
_DRAWING = ("temperature", "top_k", "top_p", "min_p")
"""Settings that have the same name and meaning there; the latter act with `do_sample` alone."""

_CARD = (resources.files("minillm.interop") / "model_card.md").read_text(encoding="utf-8")


def read_shape(folder: Path) -> tuple[Architecture, ModelConfig]:
    """What a folder's configuration says of the model; the weights are not touched.

    Raises:
        ValueError: Naming the key that is missing, damaged, or beyond what is computed here.
    """
    keys = _read_keys(folder / CONFIG)
    kind, known = keys.get("model_type"), ", ".join(ARCHITECTURES)
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ValueError(f"`{folder / CONFIG}`: `model_type` is {kind!r}, expected one of {known}")
    architecture = ARCHITECTURES[kind]
    return architecture, from_keys(architecture, keys, str(folder / CONFIG))


def read_hugging_face(folder: Path) -> Parts:
    """Reads a folder that `save_pretrained` or `write_hugging_face` has written.

    Raises:
        ValueError: Naming the file and the key or tensor that is missing, damaged, or beyond what
            is computed here.
    """
    architecture, model = read_shape(folder)
    settings_path = folder / "tokenizer_config.json"
    settings = _read_keys(settings_path) if settings_path.is_file() else {}
    template = settings.get("chat_template")
    tokenizer = _read_tokenizer(folder / "tokenizer.json", model)
    if isinstance(template, list):  # several by their names, as older folders have them
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        if "default" not in named:
            raise ValueError(f"`{settings_path}`: no chat template is `default`, only {[*named]}")
        template = named["default"]
    if (folder / CHAT_TEMPLATE).is_file():
        with named_in_errors(folder / CHAT_TEMPLATE):
            template = (folder / CHAT_TEMPLATE).read_text(encoding="utf-8")
    return Parts(
        model=model,
        tensors=to_ours(architecture, model, _read_weights(folder), str(folder)),
        tokenizer=tokenizer,
        chat_template=_with_tokens(template, settings) if isinstance(template, str) else None,
        sample=_read_sampling(folder, settings, tokenizer),
    )


def write_hugging_face(
    target: Path, parts: Parts, *, dtype: torch.dtype, max_shard_bytes: int, source: str
) -> Architecture:
    """Writes a folder that `transformers` and its relatives load with no code of ours.

    Args:
        target: The new folder.
        parts: The model.
        dtype: Type of its weights there.
        max_shard_bytes: Largest file of weights; a larger tensor has a file to itself.
        source: What messages and the model card call the model's origin.

    Returns:
        The architecture that the model has become.

    Raises:
        ValueError: If `target` exists, or no architecture of theirs computes this model.
        OSError: If it cannot be written, or does not read back as it was written.
    """
    refuse_existing(target)
    architecture = architecture_of(parts.model, source)
    theirs = to_theirs(architecture, parts.model, parts.tensors)
    theirs = {name: _cast(name, tensor, dtype) for name, tensor in theirs.items()}
    keys = to_keys(architecture, parts.model)
    keys["dtype"] = keys["torch_dtype"] = str(dtype).removeprefix("torch.")
    keys["use_cache"] = True
    stops = parts.stop_ids
    special_ids = {
        "bos_token_id": parts.bos_id,
        "eos_token_id": stops[0] if len(stops) == 1 else stops or None,
        # Of the ends: of any other, `transformers` takes each in a prompt for padding.
        "pad_token_id": stops[0] if stops else None,
    }
    with written_aside(target) as aside:
        aside.mkdir()
        _write_weights(aside, theirs, max_shard_bytes)
        _write_json(aside / CONFIG, {**keys, **special_ids})
        _write_json(aside / "generation_config.json", {**special_ids, **_sampling(parts.sample)})
        if parts.tokenizer is not None:
            _write_tokenizer(aside, parts.tokenizer, parts, stops)
        card = _CARD.format(
            name=target.name,
            source=source,
            class_name=architecture.class_name,
            parameters=model_size(parts.model).total,
            context=parts.model.context_length,
        )
        write_file(aside / "README.md", card.encode())
        _check(read_hugging_face(aside), parts, dtype, target)
    return architecture


def _read_weights(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name in [WEIGHTS] if (folder / WEIGHTS).is_file() else _shards(folder):
        content = read_tensors(folder / name)
        if twice := sorted(set(content) & set(tensors)):
            raise ValueError(f"`{folder / name}` holds `{twice[0]}`, another of its files too")
        tensors |= content
    return tensors


def _shards(folder: Path) -> list[str]:
    """Files that the index names, all of them in this folder."""
    if not (folder / INDEX).is_file():
        refuse_pickles(folder, "AutoModelForCausalLM.from_pretrained(FOLDER)")
        raise ValueError(f"`{folder}` holds no weights: there is no {WEIGHTS}")
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"`{folder / INDEX}` has no `weight_map`")
    for name in weight_map.values():
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\]+\.safetensors", name):
            raise ValueError(f"`{folder / INDEX}` names {name!r}, expected a .safetensors file")
        if not (folder / name).is_file():
            raise ValueError(f"`{folder / name}` is missing, {INDEX} names it")
    return list(dict.fromkeys(weight_map.values()))


def _write_weights(folder: Path, tensors: dict[str, Tensor], max_shard_bytes: int) -> None:
    from huggingface_hub import split_torch_state_dict_into_shards  # noqa: PLC0415  slow to import

    plan = split_torch_state_dict_into_shards(tensors, max_shard_size=max_shard_bytes)
    for file, names in plan.filename_to_tensors.items():
        # transformers 4 refuses a file without the metadata.
        shard = {name: tensors[name] for name in names}
        write_tensors(folder / file, shard, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        _write_json(folder / INDEX, index)


def _cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    cast = tensor.to(dtype)
    if not cast.isfinite().all() and tensor.isfinite().all():
        error = ValueError(f"`{name}` has {tensor.abs().max():.3g}, beyond the range of {dtype}")
        raise with_hint(error, "take bfloat16, whose range is that of float32")
    return cast


def _read_tokenizer(file: Path, model: ModelConfig) -> Tokenizer | None:
    if not file.is_file():
        return None
    if read_json(file).get("normalizer"):
        text = f"`{file}` changes text before it encodes it; here text is encoded as it is"
        warnings.warn(text, stacklevel=2)
    tokenizer = Tokenizer.load(file, skip_normalizer=True)
    if (n_ids := tokenizer.vocab_size) > model.vocab_size:
        raise ValueError(f"`{file}` has {n_ids} ids, the model's vocab_size is {model.vocab_size}")
    return tokenizer


def _write_tokenizer(
    folder: Path, tokenizer: Tokenizer, parts: Parts, stops: Sequence[int]
) -> None:
    """Writes a tokenizer that puts before each text what the model expects there."""
    content = json.loads(tokenizer.to_json())
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": parts.model.context_length,
        "clean_up_tokenization_spaces": False,
    }
    names = {token: name for name, token in tokenizer.special_tokens.items()}
    if ends := [names[token] for token in stops if token in names]:
        settings["eos_token"] = settings["pad_token"] = ends[0]
    if parts.bos_id in names:
        bos = names[parts.bos_id]
        settings["bos_token"] = bos
        first = {"SpecialToken": {"id": bos, "type_id": 0}}
        text, second = ({"Sequence": {"id": part, "type_id": 0}} for part in "AB")
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, text],
            "pair": [first, text, first, second],
            "special_tokens": {bos: {"id": bos, "ids": [parts.bos_id], "tokens": [bos]}},
        }
    if parts.chat_template is not None:
        settings["chat_template"] = parts.chat_template
        write_file(folder / CHAT_TEMPLATE, parts.chat_template.encode())
    _write_json(folder / "tokenizer.json", content)
    _write_json(folder / "tokenizer_config.json", settings)


def _with_tokens(template: str, settings: Mapping[str, Any]) -> str:
    """The template with the control tokens defined that it takes from `tokenizer_config.json`."""
    for name in ("bos_token", "eos_token"):
        text = _text(settings.get(name))
        if text is not None and name in template and f"set {name} =" not in template:
            template = f"{{% set {name} = {json.dumps(text)} %}}{template}"
    return template


def _sampling(sample: SampleConfig) -> dict[str, Any]:
    names = (*_SAMPLING, *(_DRAWING if sample.temperature else ()))
    return {"do_sample": sample.temperature > 0, **{name: getattr(sample, name) for name in names}}


def _read_sampling(
    folder: Path, settings: Mapping[str, Any], tokenizer: Tokenizer | None
) -> SampleConfig:
    """The settings that we have too, and the tokens that begin and end a text.

    How to draw is in use with `do_sample` alone; where that is not mentioned, ours is taken.
    """
    file = folder / "generation_config.json"
    keys = _read_keys(folder / CONFIG)
    if file.is_file():
        keys |= {key: value for key, value in _read_keys(file).items() if value is not None}
    names = (*_SAMPLING, *(_DRAWING if keys.get("do_sample") else ()))
    found = {name: keys[name] for name in names if keys.get(name) is not None}
    if keys.get("do_sample") is False:
        found["temperature"] = 0.0
    eot_id = tokenizer.eot_id if tokenizer else None
    ends = keys.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    found["stop_ids"] = ends = [token for token in ends if token not in (None, eot_id)]
    begins = (eot_id, keys.get("bos_token_id"), *ends)
    begin = next((token for token in begins if token is not None), None)
    if tokenizer and (first := _first_token(folder / "tokenizer.json", settings)):
        begin = tokenizer.special_tokens.get(first, begin)
    found["bos_id"] = None if begin == eot_id else begin
    return validated(SampleConfig, found, lambda _: f" in `{file}`")


def _first_token(file: Path, settings: Mapping[str, Any]) -> str | None:
    """The token that their tokenizer puts before each text, if there is one."""
    processor = read_json(file).get("post_processor")
    several = processor.get("processors") if isinstance(processor, dict) else None
    for part in several if isinstance(several, list) else [processor]:
        match part:
            case {"single": [{"SpecialToken": {"id": str(name)}}, *_]}:
                return name
    return _text(settings.get("bos_token")) if settings.get("add_bos_token") is True else None


def _text(token: object) -> str | None:
    """The text of a control token as `tokenizer_config.json` names it; an object is older."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _check(read: Parts, written: Parts, dtype: torch.dtype, target: Path) -> None:
    """Holds what was read back against what was meant."""
    for name, tensor in written.tensors.items():
        if not torch.equal(read.tensors[name], tensor.to(dtype)):
            raise OSError(f"`{target}`: `{name}` does not read back as it was written")
    if read.tokenizer != written.tokenizer or read.chat_template != written.chat_template:
        raise OSError(f"`{target}`: the tokenizer does not read back as it was written")


def _read_keys(path: Path) -> dict[str, Any]:
    keys = read_json(path)
    if "auto_map" in keys:
        problem = "asks for code that came with the model, and no such code is run here"
        raise ValueError(f"`{path}`: `auto_map` {problem}")
    return keys


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_file(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
