"""Key-value cache: what earlier tokens leave behind for later ones.

One block of memory, allocated once and filled from the left, so that decoding never allocates and
never copies what is already there. All sequences of a batch have the same length.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minillm.config import ModelConfig


class KVCache:
    """Keys and values of up to `max_len` positions, for every layer."""

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_len: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Allocates an empty cache.

        Args:
            config: Shape of the model that will use it.
            batch_size: Sequences decoded side by side.
            max_len: Positions to make room for.
            device: Where the model is.
            dtype: Type of the model's keys and values.
        """
        shape = (config.n_layers, batch_size, config.n_kv_heads, max_len, config.d_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # layers B G max_len K
        self.values = torch.zeros(shape, device=device, dtype=dtype)  # layers B G max_len K
        self.max_len = max_len
        self.length = 0

    def write(
        self, layer: int, keys: Float[Tensor, "B G T K"], values: Float[Tensor, "B G T K"]
    ) -> tuple[Float[Tensor, "B G S K"], Float[Tensor, "B G S K"]]:
        """Stores the new positions of one layer and returns all that it now holds.

        Every layer of a forward pass writes at the same place; `advance` then moves it.

        Raises:
            ValueError: If the cache is full.
        """
        end = self.length + keys.shape[2]
        if end > self.max_len:
            raise ValueError(
                f"kv cache is full: {self.length} of {self.max_len} positions used,"
                f" {keys.shape[2]} more asked for"
            )
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]  # B G S K

    def advance(self, n_tokens: int) -> None:
        """Counts the positions that all layers have just written."""
        self.length += n_tokens

    def truncate(self, length: int) -> None:
        """Forgets the positions from `length` on; their memory is kept for new ones."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot cut a kv cache of {self.length} positions to {length}")
        self.length = length
