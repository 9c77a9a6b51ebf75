"""Parameters and floating-point operations of a model, by plain arithmetic.

Nothing here builds a model: a planner, a benchmark or `--help` can ask before torch is imported.
`tests/unit/model` holds these numbers against the modules' own.
"""

from minillm.config.model import ModelConfig


def parameter_count(model: ModelConfig) -> int:
    """Number of trainable numbers; a tied embedding counts once."""
    norm = _norm_parameters(model)
    per_layer = _layer_matrix_parameters(model) + _layer_biases(model) + 2 * norm
    if model.qk_norm:
        per_layer += 2 * model.d_head
    tables = model.vocab_size * model.d_model * (1 if model.tie_embeddings else 2)
    if model.position == "learned":
        tables += model.context_length * model.d_model
    return tables + model.n_layers * per_layer + norm


def flops_per_token(model: ModelConfig, seq_len: int | None = None) -> int:
    """Floating-point operations to train on one token, forward and backward.

    6 per parameter of a matrix product (2 forward, 4 backward; the head counts, a look-up does
    not) and 12 * channels * `seq_len` per layer for attention's two products. That counts the
    masked half of attention too, as nanoGPT and most published utilizations do, so that ours
    compare with theirs.

    Args:
        model: Shape of the model.
        seq_len: Tokens per sequence; the model's `context_length` when absent.
    """
    length = model.context_length if seq_len is None else seq_len
    matrices = model.n_layers * _layer_matrix_parameters(model) + model.vocab_size * model.d_model
    return 6 * matrices + 12 * model.n_layers * model.n_heads * model.d_head * length


def _layer_matrix_parameters(model: ModelConfig) -> int:
    heads = 2 * model.n_heads + 2 * model.n_kv_heads  # q and o; k and v
    ffn_matrices = 3 if model.ffn == "swiglu" else 2
    return model.d_model * (heads * model.d_head + ffn_matrices * model.d_ff)


def _layer_biases(model: ModelConfig) -> int:
    attention = (model.n_heads + 2 * model.n_kv_heads) * model.d_head + model.d_model
    ffn = model.d_ff * (2 if model.ffn == "swiglu" else 1) + model.d_model
    return attention * model.attention_bias + ffn * model.ffn_bias


def _norm_parameters(model: ModelConfig) -> int:
    return model.d_model * (2 if model.norm == "layernorm" else 1)
