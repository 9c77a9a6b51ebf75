"""A decoder-only transformer, from token ids to logits or loss."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from minillm.config import ModelConfig
from minillm.config.sections import IGNORED
from minillm.model.block import Block
from minillm.model.cache import KVCache
from minillm.model.experts import take_penalty
from minillm.model.layers import Embedding, Linear, build_norm
from minillm.model.mask import build_mask
from minillm.model.rope import Rotation, rope_rotation
from minillm.model.rope_scaling import scaled_frequencies, yarn_magnitude


class Transformer(nn.Module):
    """Embedding, blocks, norm, head.

    Parameter names follow `embed_tokens`, `layers.N.attention.q_proj`, `layers.N.ffn.gate_proj`,
    `layers.N.ffn.router`, `layers.N.ffn.experts.gate_proj`, ..., `norm`, `lm_head`, each `weight`
    shaped as Hugging Face shapes it, experts stacked. A tied head has no entry of its own.

    Attributes:
        recomputes: Whether the backward pass computes each block again instead of keeping it.
        document_start: Token that begins a document. If set, rows without a cache are masked by
            document where the caller does not number them.
        cross_entropy: Of the last loss in training, without the experts' penalties; for the log.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Builds the model and draws its initial weights from PyTorch's global generator."""
        super().__init__()
        self.config = config
        self.document_start: int | None = None
        self.recomputes = False
        # A buffer: as an attribute it would share memory with the loss that compiled code returns.
        self.cross_entropy: Tensor = nn.Buffer(torch.zeros(()), persistent=False)
        self.embed_tokens = Embedding(config.vocab_size, config.d_model, std=config.init_std)
        self.embed_positions = (
            Embedding(config.context_length, config.d_model, std=config.init_std)
            if config.position == "learned"
            else None
        )
        self.embedding_norm = build_norm(config) if config.embedding_norm else nn.Identity()
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
        documents: Int[Tensor, "B T"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "..."]:
        """Logits of each position's next token or, given `targets`, their mean cross-entropy.

        Args:
            ids: Tokens.
            targets: The token that follows each one; -100 where none is to be predicted.
            positions: Place of each token in its own document; counted when absent.
            documents: Which document each token belongs to, where rows are packed from several;
                tokens see their own only. Those of one document must be neighbours.
            cache: Keys and values of earlier tokens; those of `ids` are added to it.

        Returns:
            Logits, B T V, or the loss in nats, a float32 scalar, 0 where nothing is to be
            predicted. In training mode it includes the experts' balance and z losses, and
            `cross_entropy` is left behind without them; in evaluation mode it never does.

        Raises:
            ValueError: If the sequence is longer than the model's context, or documents come with
                a cache.
        """
        hidden = self.hidden(ids, positions=positions, documents=documents, cache=cache)  # B T D
        logits = self.logits(hidden)  # B T V
        if targets is None:
            return logits
        # In float32: the exponentials of 50,000 bfloat16 logits do not sum to anything useful.
        flat = logits.flatten(0, 1).float()  # N V
        loss = functional.cross_entropy(
            flat, targets.flatten(), ignore_index=IGNORED, reduction="sum"
        ) / (targets != IGNORED).sum().clamp(min=1)
        if not self.training:
            return loss
        self.cross_entropy.copy_(loss.detach())
        return loss + take_penalty(self.layers)

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        *,
        positions: Int[Tensor, "#B T"] | None = None,
        documents: Int[Tensor, "B T"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The normalized residual stream after the last block; arguments as for `forward`."""
        start = 0 if cache is None else cache.length
        end = start + ids.shape[1]
        if end > self.config.context_length:
            raise ValueError(
                f"sequence of {end} tokens exceeds context_length ({self.config.context_length})"
            )
        if documents is None and cache is None and self.document_start is not None:
            documents = (ids == self.document_start).cumsum(dim=1)  # B T
        if documents is not None and cache is not None:
            raise ValueError("documents do not go with a cache: it holds one per row")
        if positions is None:
            positions = _count_positions(start, ids, documents, cache)  # #B T
        x = self.embed_tokens(ids)  # B T D
        if self.embed_positions is not None:
            x = x + self.embed_positions(positions)
        x = x0 = self.dropout(self.embedding_norm(x))
        rotation = self._rotation(positions, x.dtype)
        masks = {
            window: build_mask(
                ids.shape[1],
                window=window,
                backend=self.config.attention_backend,
                device=ids.device,
                documents=documents,
                cache=cache,
            )
            for window in {self.config.window(layer) for layer in range(self.config.n_layers)}
        }
        for layer, block in enumerate(self.layers):
            turn = rotation if self.config.has_rope(layer) else None
            mask = masks[self.config.window(layer)]
            if self.recomputes and self.training and cache is None:
                x = checkpoint(block, x, mask, turn, x0=x0, ids=ids, use_reentrant=False)
            else:
                x = block(x, mask, turn, cache, x0=x0, ids=ids)
        if cache is not None:
            cache.advance(ids.shape[1])
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        """Scores of every token of the vocabulary; a sampler passes the last position alone.

        With `logit_softcap` c they are c tanh(logits / c) (Gemma 2, arXiv:2408.00118, section 2),
        in float32, and none can run away.
        """
        head = self.embed_tokens.unembed if self.lm_head is None else self.lm_head
        logits: Tensor = head(hidden)
        cap = self.config.logit_softcap
        return cap * torch.tanh(logits.float() / cap) if cap else logits

    def _rotation(self, positions: Int[Tensor, "#B T"], dtype: torch.dtype) -> Rotation | None:
        config = self.config
        if config.position != "rope":
            return None
        # In latent attention the scale of the scores lengthens all channels, not only these.
        magnitude = 1.0 if config.attention == "mla" else yarn_magnitude(config)
        frequencies = scaled_frequencies(config, positions.device)  # half
        return rope_rotation(
            positions, frequencies, pairs=config.rope_pairs, magnitude=magnitude, dtype=dtype
        )


def check_finite(value: float, name: str, model: nn.Module) -> float:
    """`value`, which the model has computed.

    Raises:
        ValueError: If it is NaN or infinite, with the first weight that is not finite, if one is.
    """
    if math.isfinite(value):
        return value
    damaged = (key for key, weight in model.state_dict().items() if not weight.isfinite().all())
    key = next(damaged, None)
    cause = f"weight `{key}` is not finite" if key else "its logits overflow"
    raise ValueError(f"the {name} is {value}: {cause}")


def _count_positions(
    start: int,
    ids: Int[Tensor, "B T"],
    documents: Int[Tensor, "B T"] | None,
    cache: KVCache | None,
) -> Int[Tensor, "#B T"]:
    """Place of each token: from the row's start, its first token or its document's first."""
    index = torch.arange(start, start + ids.shape[1], device=ids.device)[None]  # 1 T
    if cache is not None and cache.starts is not None:
        return (index - cache.starts[:, None]).clamp(min=0)  # B T; padding has any place
    if documents is None:
        return index
    is_first = documents != documents.roll(1, dims=1)  # B T
    begins = torch.where(is_first, index, 0).cummax(dim=1).values  # B T
    return index - begins
