"""What is mixed into a block beside the stream: the embedding again, and a vector per token.

Both bring the token itself back to depths where the stream has long become something else, for
almost no arithmetic. modded-nanogpt adopted them together (a fifth fewer minutes to the same loss);
in nanochat x0 skips alone gave 0.004 to 0.010 bits per byte, more on shallow models, and value
embeddings were worth their parameters, 151M in its 12 layers.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minillm.config import ModelConfig
from minillm.config.model.residual import VALUE_GATE_CHANNELS
from minillm.model.layers import Embedding, Linear


class X0Skip(nn.Module):
    """a x + b x0: before each block, the stream and what it began with (nanochat).

    Both are one number per block, from a = 1 and b = 0.1.
    """

    def __init__(self) -> None:
        super().__init__()
        # One vector and not two scalars: optimizers and checkpoints take it for what it is.
        self.weight = nn.Parameter(torch.tensor([1.0, 0.1]))

    def forward(
        self, x: Float[Tensor, "B T D"], x0: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B T D"]:
        """Mixes both."""
        a, b = self.weight.to(x.dtype).unbind()
        return a * x + b * x0


class TokenValues(nn.Module):
    """A learned value vector per token, gated per head and position: 2 sigmoid(W x) * table[id].

    Value embeddings of modded-nanogpt, after Zhou et al., "Value Residual Learning",
    arXiv:2410.17897, with nanochat's gate: at first W = 0 and the gate 1. `Attention` adds them to
    its values.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_kv_heads = config.n_kv_heads
        d_values = config.n_kv_heads * config.d_head
        self.embed = Embedding(config.vocab_size, d_values, std=config.init_std)
        self.gate = Linear(min(VALUE_GATE_CHANNELS, config.d_model), config.n_kv_heads, std=0.0)

    def forward(
        self, x: Float[Tensor, "B T D"], ids: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T G K"]:
        """The vectors of `ids`, gated by the normalized stream."""
        gate = 2 * torch.sigmoid(self.gate(x[..., :VALUE_GATE_CHANNELS]))  # B T G
        values: Tensor = self.embed(ids).unflatten(-1, (self.n_kv_heads, -1))  # B T G K
        return gate[..., None] * values
