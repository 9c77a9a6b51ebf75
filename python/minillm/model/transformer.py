"""A decoder-only transformer, from token ids to logits or loss."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.block import Block, build_norm
from minillm.model.cache import KVCache
from minillm.model.functional import IGNORED
from minillm.model.layers import Embedding, Linear
from minillm.model.rope import Rotation, rope_rotation


class Transformer(nn.Module):
    """Embedding, blocks, norm, head.

    Parameter names follow `embed_tokens`, `layers.N.attention.q_proj`, `layers.N.ffn.gate_proj`,
    ..., `norm`, `lm_head`, each weight shaped as Hugging Face shapes it. A tied head has no entry
    of its own.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Builds the model and draws its initial weights from PyTorch's global generator."""
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.d_model, std=config.init_std)
        self.embed_positions = (
            Embedding(config.context_length, config.d_model, std=config.init_std)
            if config.position == "learned"
            else None
        )
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = build_norm(config)
        self.lm_head = (
            None
            if config.tie_embeddings
            else Linear(config.d_model, config.vocab_size, std=config.init_std)
        )

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        targets: Int[Tensor, "B T"] | None = None,
        positions: Int[Tensor, "#B T"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "..."]:
        """Logits of each position's next token or, given `targets`, their mean cross-entropy.

        Args:
            ids: Tokens.
            targets: The token that follows each one; -100 where none is to be predicted.
            positions: Place of each token in its own document; 0, 1, .. after the cache when
                absent.
            cache: Keys and values of earlier tokens; those of `ids` are added to it.

        Returns:
            Logits, B T V, or the loss in nats, a float32 scalar.

        Raises:
            ValueError: If the sequence is longer than the model's context.
        """
        logits = self.logits(self.hidden(ids, positions=positions, cache=cache))  # B T V
        if targets is None:
            return logits
        # In float32: the exponentials of 50,000 bfloat16 logits do not sum to anything useful.
        flat = logits.flatten(0, 1).float()  # N V
        return functional.cross_entropy(flat, targets.flatten(), ignore_index=IGNORED)

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        *,
        positions: Int[Tensor, "#B T"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The normalized residual stream after the last block; arguments as for `forward`."""
        start = 0 if cache is None else cache.length
        end = start + ids.shape[1]
        if end > self.config.context_length:
            raise ValueError(
                f"sequence of {end} tokens exceeds context_length ({self.config.context_length})"
            )
        if positions is None:
            positions = torch.arange(start, end, device=ids.device)[None]  # 1 T
        x = self.embed_tokens(ids)  # B T D
        if self.embed_positions is not None:
            x = x + self.embed_positions(positions)
        x = self.dropout(x)
        rotation = self._rotation(positions, x.dtype)
        for block in self.layers:
            x = block(x, rotation, cache)
        if cache is not None:
            cache.advance(ids.shape[1])
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        """Scores of every token of the vocabulary; a sampler passes the last position alone."""
        head = self.embed_tokens.unembed if self.lm_head is None else self.lm_head
        logits: Tensor = head(hidden)
        return logits

    def _rotation(self, positions: Int[Tensor, "#B T"], dtype: torch.dtype) -> Rotation | None:
        if self.config.position != "rope":
            return None
        theta = self.config.rope_theta
        return rope_rotation(positions, self.config.d_head, theta=theta, dtype=dtype)
