"""What a run will take: memory by part, and time on a named device, before anything is allocated.

Weights, gradients, the optimizer's state and the cache are counted on the real objects, built on
PyTorch's meta device. What autograd keeps for the backward pass is counted in a dry run of the
model on fake tensors, which know shapes and take no memory: exact on a CPU without compilation. A
GPU's fused kernels and `train.compile` keep less, while an allocator's holes, cuBLAS's workspaces
and the optimizer's temporaries come on top; so take the sum for within a quarter of the truth.

Time is operations over speed: a device's published peak for dense products, times the share of it
that training reaches (model FLOPs utilization, MFU; PaLM, arXiv:2204.02311, appendix B). In public
numbers of 2024 to 2026 that share is 33% to 41% for 124M parameters on one H100 and up to 50% for
1B; models below some 50M reach far less.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from minillm.config import Config, ModelConfig
from minillm.model import KVCache, Transformer, build_on_meta, flops_per_token, model_size
from minillm.optim import build_optimizer
from minillm.train.device import autocast

TOKENS_PER_PARAMETER = 20
"""Least loss for given compute (Hoffmann et al., "Chinchilla", arXiv:2203.15556, table 3)."""

Part = dict[str, float]


def budget(config: Config, *, flops_per_s: float) -> dict[str, Part]:
    """Size, memory and time of a run, by section and part; each name ends in its unit.

    Args:
        config: The run.
        flops_per_s: Operations that training gets out of its device: peak times MFU.
    """
    return {
        "model": _model(config.model),
        "training": training_memory(config),
        "decoding": decoding_memory(config.model),
        "time": _time(config, flops_per_s),
    }


def training_memory(config: Config) -> Part:
    """Bytes held when the backward pass of a micro-step begins, by part."""
    # FlexAttention compiles; what takes its place keeps the same, but for a cap's scores.
    model = build_on_meta(config.model.without_flex())
    optimizer = build_optimizer(model, config.optim)
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    state = [tensor for of_one in optimizer.state.values() for tensor in of_one.values()]
    tokens = config.train.batch_size * config.train.seq_len
    parts: Part = {
        "weights_bytes": _bytes([*model.parameters(), *model.buffers()]),
        "gradients_bytes": _bytes(model.parameters()),
        "optimizer_bytes": _bytes(state),
        "activations_bytes": _saved_bytes(model, config),
        # Log-probabilities, their gradient, and that of the logits, in float32.
        "logits_bytes": 3 * 4 * tokens * config.model.vocab_size,
    }
    return {**parts, "total_bytes": sum(parts.values())}


def decoding_memory(config: ModelConfig) -> Part:
    """Bytes to continue one sequence up to the whole context, in float32 as `generate` does."""
    weights = 4 * model_size(config).total
    empty = KVCache(config, 1, config.context_length, device="meta")
    cache = _bytes([*empty.keys, *empty.values])
    return {
        "weights_bytes": weights,
        "cache_per_token_bytes": cache / config.context_length,
        "cache_bytes": cache,
        "total_bytes": weights + cache,
    }


def _model(config: ModelConfig) -> Part:
    size = model_size(config)
    return {
        "parameters": size.total,
        "active_parameters": size.active,
        "embedding_parameters": size.embedding,
        "other_parameters": size.total - size.embedding,
    }


def _time(config: Config, flops_per_s: float) -> Part:
    settings = config.train
    flops = flops_per_token(config.model, settings.seq_len)
    speed = flops_per_s / flops
    step = settings.batch_size * settings.seq_len * settings.gradient_accumulation_steps
    run = step * settings.max_train_steps
    advised = TOKENS_PER_PARAMETER * model_size(config.model).active
    return {
        "flops_per_token": flops,
        "tokens_per_s": speed,
        "step_tokens": step,
        "run_tokens": run,
        "run_s": run / speed,
        "chinchilla_tokens": advised,
        "chinchilla_s": advised / speed,
    }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _saved_bytes(model: Transformer, config: Config) -> int:
    """Bytes that autograd keeps of one micro-step's forward pass, up to the logits."""
    saved: dict[int, torch.UntypedStorage] = {}  # by identity; held, so that none comes again

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    in_dtype = autocast(torch.device("cpu"), config.train.dtype)
    with FakeTensorMode():
        weights = {
            name: torch.empty(parameter.shape, requires_grad=True)
            for name, parameter in model.named_parameters()
        }
        weights |= {name: torch.empty(buffer.shape) for name, buffer in model.named_buffers()}
        ids = torch.zeros(config.train.batch_size, config.train.seq_len, dtype=torch.int64)
        with hooks, in_dtype:
            functional_call(model, weights, (ids,))
    for weight in weights.values():
        saved.pop(weight.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in saved.values())
