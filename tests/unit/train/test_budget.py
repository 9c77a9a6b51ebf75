"""The budget of a run against what the run really holds."""

import pytest
import torch

from minillm.config import Config, ModelConfig, OptimConfig, TrainConfig
from minillm.model import KVCache, Transformer
from minillm.optim import build_optimizer
from minillm.train.budget import budget, decoding_memory, training_memory
from minillm.train.device import autocast

SHAPE = {"vocab_size": 50, "context_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 2}
MODELS = {
    "default": {},
    "grouped": {"n_kv_heads": 1, "qk_norm": True, "ffn": "relu2", "tie_embeddings": False},
    "experts": {"n_experts": 4, "balance": "bias", "d_expert": 16},
    "odd experts": {"n_experts": 4, "d_expert": 10, "n_shared_experts": 1},
    "speed": {"value_embeddings": True, "x0_skip": True, "norm_scale": False},
    "windowed": {"windows": [4, 0]},
    "latent": {"attention": "mla", "d_latent_q": 8},
    "gpt2": {"norm": "layernorm", "position": "learned", "ffn": "gelu", "attention_bias": True},
}


def run_of(fields, *, optim="muon", dtype="float32"):
    return Config(
        model=ModelConfig(**SHAPE, **fields),
        optim=OptimConfig(name=optim),
        train=TrainConfig(batch_size=3, seq_len=16, dtype=dtype),
    )


def bytes_of(tensors):
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("fields", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("optim", ["adamw", "sgd", "muon"])
def test_weights_gradients_and_optimizer_are_those_of_a_real_step(fields, optim):
    config = run_of(fields, optim=optim)
    model = Transformer(config.model)
    optimizer = build_optimizer(model, config.optim)
    ids = torch.zeros(3, 16, dtype=torch.int64)
    model(ids, targets=ids).backward()
    optimizer.step()
    state = [tensor for of_one in optimizer.state.values() for tensor in of_one.values()]
    planned = training_memory(config)
    assert planned["weights_bytes"] == bytes_of([*model.parameters(), *model.buffers()])
    assert planned["gradients_bytes"] == bytes_of(p.grad for p in model.parameters())
    assert planned["optimizer_bytes"] == bytes_of(state)


@pytest.mark.parametrize("fields", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_what_autograd_really_keeps(fields, dtype):
    config = run_of(fields, dtype=dtype)
    model = Transformer(config.model)
    weights = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(50, (3, 16))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, autocast(torch.device("cpu"), dtype):
        logits = model(ids)
    assert logits.requires_grad  # and so all of it is still held
    assert training_memory(config)["activations_bytes"] == sum(kept.values())


def test_decoding_holds_the_weights_and_a_cache_of_the_whole_context():
    config = ModelConfig(**SHAPE, n_kv_heads=1)
    cache, weights = KVCache(config, 1, 16), Transformer(config).parameters()
    planned = decoding_memory(config)
    assert planned["cache_bytes"] == bytes_of([*cache.keys, *cache.values])
    assert planned["cache_per_token_bytes"] == 2 * 2 * 16 * 4  # k and v, layers, channels, float32
    assert planned["total_bytes"] == planned["cache_bytes"] + bytes_of(weights)


def test_a_window_and_a_latent_bound_the_cache():
    full = decoding_memory(ModelConfig(**SHAPE))["cache_bytes"]
    assert decoding_memory(ModelConfig(**SHAPE, windows=[4]))["cache_bytes"] == full / 4
    latent = ModelConfig(**SHAPE, attention="mla", d_latent_kv=6, d_head_rope=2)
    assert decoding_memory(latent)["cache_bytes"] == 2 * 16 * (6 + 2) * 4


def test_time_is_operations_over_speed():
    part = budget(run_of({}), flops_per_s=1e6)["time"]
    assert part["run_tokens"] == 3 * 16 * 2000
    assert part["run_s"] == pytest.approx(part["run_tokens"] * part["flops_per_token"] / 1e6)


def test_nothing_is_allocated_for_a_model_that_would_not_fit():
    huge = ModelConfig(d_model=65_536, n_layers=8, n_heads=512, d_ff=262_144)
    config = Config(model=huge, train=TrainConfig(batch_size=4096, seq_len=256))
    assert training_memory(config)["total_bytes"] > 1e12
