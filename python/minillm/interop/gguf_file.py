"""GGUF files, for llama.cpp and what is built on it.

The names of tensors and keys come from the `gguf` package, which is llama.cpp's own; what stands
here is what its converter does besides. It is written and never read: a parser of foreign files
would be one more to get wrong.

Llama's queries and keys are stored with their rows in another order. llama.cpp turns neighbouring
channels (2 i, 2 i + 1) of such a model, while a checkpoint of Hugging Face's pairs i with i + K/2;
Qwen3's are turned as they are stored.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from torch import Tensor

from minillm.config import ModelConfig
from minillm.files import written_aside
from minillm.interop.architectures import GGUF_KEYS, Architecture
from minillm.interop.parts import Parts, refuse_existing
from minillm.interop.shape import architecture_of
from minillm.interop.weights import to_theirs
from minillm.messages import import_extra

GgufType = Literal["f32", "f16", "bf16", "q8_0"]

Blocks = dict[str, tuple[np.ndarray[Any, Any], Any]]
"""Each tensor under llama.cpp's name, as it lies in the file, with its type."""

PRE_TOKENIZERS = {"gpt2": "gpt-2", "llama3": "llama-bpe", "qwen2": "qwen2", "o200k": "gpt-4o"}
"""What llama.cpp calls the pattern by which text is split."""


def write_gguf(target: Path, parts: Parts, *, kind: GgufType, source: str) -> Architecture:
    """Writes one file with weights, shape and tokenizer, and reads it back.

    Args:
        target: The new file.
        parts: The model.
        kind: Type of its matrices; vectors and tables of positions are float32 in any case, and
            rows that q8_0's blocks of 32 do not divide are float16.
        source: What messages call the model's origin.

    Returns:
        The architecture that the model has become.

    Raises:
        ValueError: If `target` exists, or llama.cpp does not compute this model or split text as
            its tokenizer does.
        OSError: If it cannot be written, or does not read back as it was written.
    """
    refuse_existing(target)
    gguf = import_extra("gguf", extra="export")
    architecture = architecture_of(parts.model, source)
    name = architecture.gguf_name
    if name is None or (name == "qwen3" and parts.model.attention_bias):
        what = " with attention_bias" if name else ""
        raise ValueError(f"`{source}`: no GGUF is written of a {architecture.model_type}{what}")
    if parts.model.rope_scaling != "none":
        scaling = parts.model.rope_scaling
        raise ValueError(f"`{source}`: no GGUF is written of a model with rope_scaling ({scaling})")
    blocks = _blocks(gguf, architecture, parts, kind)
    with written_aside(target) as aside:
        writer = gguf.GGUFWriter(aside, name)
        writer.add_name(target.stem)
        mostly = "ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"
        writer.add_file_type(gguf.LlamaFileType[mostly])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_shape(writer, architecture, parts.model)
        _add_tokenizer(gguf, writer, parts, source)
        for block, (data, block_type) in blocks.items():
            writer.add_tensor(block, data, raw_dtype=block_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        _check(gguf, aside, blocks, target)
    return architecture


def _add_shape(writer: Any, architecture: Architecture, model: ModelConfig) -> None:  # noqa: ANN401
    for group in ("any", architecture.fixed["norm"], architecture.fixed["position"]):
        for key, field in GGUF_KEYS.get(group, {}).items():
            getattr(writer, f"add_{key}")(getattr(model, field))


def _add_tokenizer(gguf: ModuleType, writer: Any, parts: Parts, source: str) -> None:  # noqa: ANN401
    """Token texts, their types, merges, and what stands before a text."""
    tokenizer = parts.tokenizer
    if tokenizer is None:
        raise ValueError(f"`{source}` has no tokenizer.json, which a GGUF file cannot do without")
    if tokenizer.pattern not in PRE_TOKENIZERS:
        expected = f"expected one of {', '.join(PRE_TOKENIZERS)}"
        problem = f"llama.cpp does not split text by the pattern {tokenizer.pattern!r}"
        raise ValueError(f"`{source}`: {problem}, {expected}")
    content = json.loads(tokenizer.to_json())
    kinds = gguf.TokenType
    # The model may have rows beyond the tokenizer's ids.
    tokens = {i: (f"[PAD{i}]", kinds.UNUSED) for i in range(parts.model.vocab_size)}
    tokens |= {i: (text, kinds.NORMAL) for text, i in content["model"]["vocab"].items()}
    tokens |= {i: (text, kinds.CONTROL) for text, i in tokenizer.special_tokens.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZERS[tokenizer.pattern])
    writer.add_token_list([text for text, _ in tokens.values()])
    writer.add_token_types([kind for _, kind in tokens.values()])
    writer.add_token_merges([" ".join(pair) for pair in content["model"]["merges"]])
    if parts.bos_id is not None:
        writer.add_bos_token_id(parts.bos_id)
    if stops := parts.stop_ids:
        writer.add_pad_token_id(stops[0])
    places = (writer.add_eos_token_id, writer.add_eot_token_id)  # it has no more of them
    for add, token in zip(places, stops, strict=False):
        add(token)
    # A chat template that writes it, too, does no harm: llama.cpp takes one of both away.
    writer.add_add_bos_token(parts.bos_id is not None)
    writer.add_add_eos_token(False)
    if parts.chat_template is not None:
        writer.add_chat_template(parts.chat_template)


def _blocks(gguf: ModuleType, architecture: Architecture, parts: Parts, kind: GgufType) -> Blocks:
    """Each tensor under llama.cpp's name, as it lies in the file, with its type."""
    model = parts.model
    arch = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture.gguf_name]
    name_map = gguf.get_tensor_name_map(arch, model.n_layers)
    blocks = {}
    for theirs, tensor in to_theirs(architecture, model, parts.tensors, by_input=False).items():
        name = name_map.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if architecture.model_type == "llama" and (".q_proj." in theirs or ".k_proj." in theirs):
            tensor = neighbouring_pairs(tensor, model.d_head)  # noqa: PLW2901
        blocks[name] = _encoded(gguf, name, tensor.float().numpy(), kind)
    return blocks


def neighbouring_pairs(tensor: Tensor, d_head: int) -> Tensor:
    """Rows of each head so ordered that channels i and i + K/2 become 2 i and 2 i + 1."""
    heads = tensor.unflatten(0, (-1, 2, d_head // 2))
    paired: Tensor = heads.transpose(1, 2).flatten(0, 2)
    return paired.contiguous()


def _encoded(
    gguf: ModuleType, name: str, values: np.ndarray[Any, Any], kind: GgufType
) -> tuple[np.ndarray[Any, Any], Any]:
    types = gguf.GGMLQuantizationType
    if values.ndim == 1 or name.startswith("position_embd"):
        kind = "f32"
    elif kind == "q8_0" and values.shape[-1] % gguf.GGML_QUANT_SIZES[types.Q8_0][0]:
        kind = "f16"
    block_type = types[kind.upper()]
    return gguf.quants.quantize(values, block_type), block_type


def _check(gguf: ModuleType, path: Path, blocks: Blocks, target: Path) -> None:
    """Holds what is in the file against what was meant."""
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, (data, block_type) in blocks.items():
        tensor: Any = found.get(name)
        is_typed = tensor is not None and tensor.tensor_type == block_type
        if not is_typed or not np.array_equal(tensor.data.view(np.uint8), data.view(np.uint8)):
            raise OSError(f"`{target}`: `{name}` does not read back as it was written")
