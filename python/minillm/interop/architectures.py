"""Whom our models can pass for: one table an architecture, both ways.

Everything that other people named stands in this file: the keys of their `config.json`, the names
of their tensors. A new architecture is one more entry of `ARCHITECTURES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REQUIRED = object()
"""Stands for the default of a key that a `config.json` must have."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture of Hugging Face's.

    Attributes:
        model_type: Its name in `config.json`.
        class_name: The class of `transformers` that runs it.
        gguf_name: Its name in GGUF files; absent where we write none.
        fixed: Fields of `model` that it does not leave open.
        keys: Key of `config.json` to our field and the value that an absent key stands for; `None`
            leaves an absent one to our own rule.
        constants: Keys that we do not have, with the values under which nothing differs; the first
            is the one that an absent key stands for, and the one written.
        weights: Their tensor to ours, without `.weight` and `.bias`; `{n}` is the layer, `{e}` the
            expert of a stack. Several of ours are joined along their rows.
        stores_by_input: Matrices of the layers are stored (d_in, d_out).
        prefix: What may be missing in front of a tensor's name.
        no_weights: Regex of tensors that a file may hold and that are none: masks, angles.
    """

    model_type: str
    class_name: str
    gguf_name: str | None
    fixed: Mapping[str, Any]
    keys: Mapping[str, tuple[str, Any]]
    constants: Mapping[str, tuple[Any, ...]]
    weights: Mapping[str, tuple[str, ...]]
    stores_by_input: bool = False
    prefix: str = "model."
    no_weights: str = r"\.rotary_emb\.inv_freq$"


_LLAMA_KEYS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", REQUIRED),
    "max_position_embeddings": ("context_length", REQUIRED),
    "hidden_size": ("d_model", REQUIRED),
    "num_hidden_layers": ("n_layers", REQUIRED),
    "num_attention_heads": ("n_heads", REQUIRED),
    "num_key_value_heads": ("n_kv_heads", None),
    "head_dim": ("d_head", None),
    "intermediate_size": ("d_ff", REQUIRED),
    "rms_norm_eps": ("norm_eps", 1e-6),
    "attention_bias": ("attention_bias", False),
    "attention_dropout": ("attention_dropout", 0.0),
    "tie_word_embeddings": ("tie_embeddings", False),
}


def _same_names(theirs: str, ours: str, names: str) -> dict[str, tuple[str, ...]]:
    return {f"{theirs}.{name}": (f"{ours}.{name}",) for name in names.split()}


_ATTENTION = "q_proj k_proj v_proj o_proj q_norm k_norm"
_FFN = "gate_proj up_proj down_proj"

_LLAMA_WEIGHTS = {
    "model.embed_tokens": ("embed_tokens",),
    "model.layers.{n}.input_layernorm": ("layers.{n}.attention_norm",),
    "model.layers.{n}.post_attention_layernorm": ("layers.{n}.ffn_norm",),
    "model.norm": ("norm",),
    "lm_head": ("lm_head",),
    **_same_names("model.layers.{n}.self_attn", "layers.{n}.attention", _ATTENTION),
    **_same_names("model.layers.{n}.mlp", "layers.{n}.ffn", _FFN),
}

LLAMA = Architecture(
    model_type="llama",
    class_name="LlamaForCausalLM",
    gguf_name="llama",
    fixed={"norm": "rmsnorm", "position": "rope", "ffn": "swiglu", "qk_norm": False},
    keys={**_LLAMA_KEYS, "mlp_bias": ("ffn_bias", False)},
    constants={"hidden_act": ("silu",), "pretraining_tp": (1,), "rope_interleaved": (False,)},
    weights=_LLAMA_WEIGHTS,
)

QWEN3 = Architecture(
    model_type="qwen3",
    class_name="Qwen3ForCausalLM",
    gguf_name="qwen3",
    fixed={**LLAMA.fixed, "qk_norm": True, "ffn_bias": False},
    keys={
        **_LLAMA_KEYS,
        "num_key_value_heads": ("n_kv_heads", REQUIRED),
        "head_dim": ("d_head", REQUIRED),
    },
    constants={
        "hidden_act": ("silu",),
        "use_sliding_window": (False,),
        "layer_types": (None, "full_attention"),
    },
    weights=_LLAMA_WEIGHTS,
)

QWEN3_MOE = Architecture(
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
    gguf_name=None,
    fixed={**QWEN3.fixed, "n_shared_experts": 0, "router_score": "softmax"},
    keys={
        **QWEN3.keys,
        "num_experts": ("n_experts", REQUIRED),
        "num_experts_per_tok": ("n_experts_per_token", REQUIRED),
        "moe_intermediate_size": ("d_expert", REQUIRED),
        "norm_topk_prob": ("router_normalize", False),
        "router_aux_loss_coef": ("balance_rate", 1e-3),
        "mlp_only_layers": ("n_dense_layers", 0),
    },
    constants={**QWEN3.constants, "decoder_sparse_step": (1,)},
    weights={
        **_LLAMA_WEIGHTS,
        "model.layers.{n}.mlp.gate": ("layers.{n}.ffn.router",),
        **_same_names("model.layers.{n}.mlp.experts.{e}", "layers.{n}.ffn.experts", _FFN),
    },
)

GPT2 = Architecture(
    model_type="gpt2",
    class_name="GPT2LMHeadModel",
    gguf_name="gpt2",
    fixed={
        "norm": "layernorm",
        "position": "learned",
        "ffn": "gelu",
        "attention_bias": True,
        "ffn_bias": True,
        "qk_norm": False,
    },
    keys={
        "vocab_size": ("vocab_size", REQUIRED),
        "n_positions": ("context_length", REQUIRED),
        "n_embd": ("d_model", REQUIRED),
        "n_layer": ("n_layers", REQUIRED),
        "n_head": ("n_heads", REQUIRED),
        "n_inner": ("d_ff", None),
        "layer_norm_epsilon": ("norm_eps", 1e-5),
        "embd_pdrop": ("dropout", 0.1),
        "resid_pdrop": ("dropout", 0.1),
        "attn_pdrop": ("attention_dropout", 0.1),
        "tie_word_embeddings": ("tie_embeddings", True),
    },
    constants={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    weights={
        "transformer.wte": ("embed_tokens",),
        "transformer.wpe": ("embed_positions",),
        "transformer.h.{n}.ln_1": ("layers.{n}.attention_norm",),
        "transformer.h.{n}.attn.c_attn": tuple(f"layers.{{n}}.attention.{x}_proj" for x in "qkv"),
        "transformer.h.{n}.attn.c_proj": ("layers.{n}.attention.o_proj",),
        "transformer.h.{n}.ln_2": ("layers.{n}.ffn_norm",),
        "transformer.h.{n}.mlp.c_fc": ("layers.{n}.ffn.up_proj",),
        "transformer.h.{n}.mlp.c_proj": ("layers.{n}.ffn.down_proj",),
        "transformer.ln_f": ("norm",),
        "lm_head": ("lm_head",),
    },
    stores_by_input=True,
    prefix="transformer.",
    no_weights=r"\.attn\.(masked_)?bias$",
)

ARCHITECTURES = {table.model_type: table for table in (LLAMA, QWEN3, QWEN3_MOE, GPT2)}

RAMPS = {
    "yarn": ("beta_slow", "beta_fast"),
    "llama3": ("low_freq_factor", "high_freq_factor"),
}
"""Their kinds of RoPE that slow pairs down by turns, with the keys of our `rope_*_ramp`."""

ALIASES = {"num_local_experts": "num_experts"}
"""What newer releases of `transformers` call a key."""

IDLE_KEYS = frozenset(
    """
    _attn_implementation_autoset _model_name_or_path _name_or_path architectures bos_token_id
    chunk_size_feed_forward dtype eos_token_id id2label initializer_range is_llama_config
    keys_to_ignore_at_inference label2id max_window_layers model_type n_ctx output_attentions
    output_hidden_states output_router_logits pad_token_id problem_type reorder_and_upcast_attn
    return_dict sliding_window summary_activation summary_first_dropout summary_proj_to_labels
    summary_type summary_use_proj task_specific_params torch_dtype transformers.js_config
    transformers_version unk_token_id use_cache
    """.split()  # noqa: SIM905  one to a line, they would fill a screen
)
"""Keys of `config.json` that change nothing of what a model computes from ids to logits.

(`sliding_window` and `max_window_layers` act only beside `use_sliding_window`.)
"""

FREE_FIELDS = frozenset(
    """
    attention_backend attention_dropout balance balance_rate depth dropout init_std
    router_z_loss zero_init_outputs
    """.split()  # noqa: SIM905
)
"""Our fields that no other program need know of: training alone, or another way to the same sum."""
