"""Parameters and floating-point operations of a model, by plain arithmetic.

Nothing here builds a model: a planner, a benchmark or `--help` can ask before torch is imported.
`tests/unit/model` holds these numbers against the modules' own.
"""

from minillm.config.model import ModelConfig
from minillm.config.model.residual import VALUE_GATE_CHANNELS


def parameter_count(model: ModelConfig) -> int:
    """Number of trainable numbers; a tied embedding counts once."""
    return _parameters(model, model.n_experts)


def active_parameter_count(model: ModelConfig) -> int:
    """Those of `parameter_count` that one token uses: of all experts, the ones it is routed to."""
    return _parameters(model, min(model.n_experts, model.n_experts_per_token))


def flops_per_token(model: ModelConfig, seq_len: int | None = None) -> int:
    """Floating-point operations to train on one token, forward and backward.

    6 per parameter of a matrix product that a token uses (2 forward, 4 backward; the head counts,
    a look-up does not) and 12 * channels * `seq_len` per layer for attention's two products. That
    counts the masked half of attention too, as nanoGPT and most published utilizations do, so that
    ours compare with theirs.

    Args:
        model: Shape of the model.
        seq_len: Tokens per sequence; the model's `context_length` when absent.
    """
    length = model.context_length if seq_len is None else seq_len
    matrices = _matrix_parameters(model, min(model.n_experts, model.n_experts_per_token))
    head = model.vocab_size * model.d_model
    return 6 * (matrices + head) + 12 * model.n_layers * model.n_heads * model.d_head * length


def _parameters(model: ModelConfig, n_experts: int) -> int:
    """With `n_experts` of them counted in each layer that has some."""
    norm = _norm_parameters(model)
    per_layer = _layer_biases(model) + 2 * norm + 2 * model.x0_skip
    if model.qk_norm:
        per_layer += 2 * model.d_head * model.norm_scale
    tables = model.vocab_size * model.d_model * (1 if model.tie_embeddings else 2)
    tables += model.vocab_size * model.n_kv_heads * model.d_head * _value_layers(model)
    if model.position == "learned":
        tables += model.context_length * model.d_model
    norms = norm * (1 + model.embedding_norm)
    return tables + norms + model.n_layers * per_layer + _matrix_parameters(model, n_experts)


def _matrix_parameters(model: ModelConfig, n_experts: int) -> int:
    heads = 2 * model.n_heads + 2 * model.n_kv_heads  # q and o; k and v
    per_channel = model.n_layers * heads * model.d_head
    n_sparse = model.n_layers - model.n_dense_layers if model.n_experts else 0
    d_sparse = (n_experts + model.n_shared_experts) * model.d_expert
    ffn_matrices = 3 if model.ffn == "swiglu" else 2
    per_channel += ffn_matrices * ((model.n_layers - n_sparse) * model.d_ff + n_sparse * d_sparse)
    per_channel += n_sparse * model.n_experts  # the router scores every expert
    gates = _value_layers(model) * model.n_kv_heads * min(VALUE_GATE_CHANNELS, model.d_model)
    return model.d_model * per_channel + gates


def _value_layers(model: ModelConfig) -> int:
    return sum(map(model.has_token_values, range(model.n_layers)))


def _layer_biases(model: ModelConfig) -> int:
    attention = (model.n_heads + 2 * model.n_kv_heads) * model.d_head + model.d_model
    ffn = model.d_ff * (2 if model.ffn == "swiglu" else 1) + model.d_model
    return attention * model.attention_bias + ffn * model.ffn_bias


def _norm_parameters(model: ModelConfig) -> int:
    return model.d_model * model.norm_scale * (2 if model.norm == "layernorm" else 1)
