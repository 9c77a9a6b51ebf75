"""Parameters and floating-point operations of a model, by plain arithmetic.

Nothing here builds a model: a planner, a benchmark or `--help` can ask before torch is imported.
`tests/unit/model` holds these numbers against the modules' own.
"""

from minillm.config.model import ModelConfig


def parameter_count(model: ModelConfig) -> int:
    """Number of trainable numbers; a tied embedding counts once."""
    norm = _norm_parameters(model)
    per_layer = _layer_matrix_parameters(model) + _layer_vectors(model) + 2 * norm
    tables = model.vocab_size * model.d_model * (1 if model.tie_embeddings else 2)
    if model.position == "learned":
        tables += model.context_length * model.d_model
    return tables + model.n_layers * per_layer + norm


def flops_per_token(model: ModelConfig, seq_len: int | None = None) -> int:
    """Floating-point operations to train on one token, forward and backward.

    6 per parameter of a matrix product (2 forward, 4 backward; the head counts, a look-up does
    not) and 12 * channels * `seq_len` per layer for attention's two products, or its window where
    that is shorter. That counts the masked half of attention too, as nanoGPT and most published
    utilizations do, so that ours compare with theirs.

    Args:
        model: Shape of the model.
        seq_len: Tokens per sequence; the model's `context_length` when absent.
    """
    length = model.context_length if seq_len is None else seq_len
    matrices = model.n_layers * _layer_matrix_parameters(model) + model.vocab_size * model.d_model
    windows = (model.window(layer) or length for layer in range(model.n_layers))
    seen = sum(min(window, length) for window in windows)
    return 6 * matrices + 6 * model.n_heads * (model.d_score + model.d_value) * seen


def _layer_matrix_parameters(model: ModelConfig) -> int:
    ffn_matrices = 3 if model.ffn == "swiglu" else 2
    return _attention_matrices(model) + ffn_matrices * model.d_model * model.d_ff


def _attention_matrices(model: ModelConfig) -> int:
    d_queries, d_values = model.n_heads * model.d_score, model.n_heads * model.d_value
    if model.attention == "gqa":
        return model.d_model * (d_queries + d_values + 2 * model.n_kv_heads * model.d_head)
    queries = model.d_model * d_queries
    if model.d_latent_q:
        queries = (model.d_model + d_queries) * model.d_latent_q
    latent = model.d_model * (model.d_latent_kv + model.d_head_rope)
    made = model.d_latent_kv * model.n_heads * (model.d_head_nope + model.d_head_v)
    return queries + latent + made + d_values * model.d_model


def _layer_vectors(model: ModelConfig) -> int:
    """Biases and the scales of attention's own norms."""
    ffn = model.d_ff * (2 if model.ffn == "swiglu" else 1) + model.d_model
    if model.attention == "gqa":
        biases = (model.n_heads + 2 * model.n_kv_heads) * model.d_head + model.d_model
        scales = 2 * model.d_head * model.qk_norm
    else:
        biases = model.d_latent_q + model.d_latent_kv + model.d_head_rope + model.d_model
        scales = model.d_latent_q + model.d_latent_kv
    return biases * model.attention_bias + scales + ffn * model.ffn_bias


def _norm_parameters(model: ModelConfig) -> int:
    return model.d_model * (2 if model.norm == "layernorm" else 1)
