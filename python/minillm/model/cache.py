"""Key-value cache: what earlier tokens leave behind for later ones.

One block of memory per layer, allocated once, so that decoding neither allocates nor copies what is
already there. A layer that sees all positions has room for all and is filled from the left. A layer
with a window is a ring: position n lies in slot n mod R and takes the place of position n - R,
which nobody will look at again, so that memory follows the window and not the text. Latent
attention stores its two latents in the same way (see `AttentionConfig.cache_shape`).

Prompts of different length share a batch by standing flush right: row b begins at index
`starts[b]`, and what lies before is padding that no token sees. All rows then decode in step, and
the newest token of each is at the same index.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minillm.config import ModelConfig


class KVCache:
    """Keys and values of up to `max_len` positions, for every layer.

    Attributes:
        keys: Per layer, B G R K; R is `max_len`, or the layer's window where that is less.
        values: The same for values.
        length: Positions written so far, padding included.
        starts: Index of each row's first token; `None` where no row is padded.
    """

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
        n_heads, d_key, d_value = config.cache_shape
        self.max_len = max_len
        self.length = 0
        self.starts: Int[Tensor, " B"] | None = None
        self.keys: list[Float[Tensor, "B G R K"]] = []
        self.values: list[Float[Tensor, "B G R Kv"]] = []
        for layer in range(config.n_layers):
            shape = (batch_size, n_heads, self._room(config.window(layer)))
            self.keys.append(torch.zeros(*shape, d_key, device=device, dtype=dtype))
            self.values.append(torch.zeros(*shape, d_value, device=device, dtype=dtype))

    def pad(self, starts: Int[Tensor, " B"]) -> None:
        """Lets row b begin at index `starts[b]`; the ids before it are padding.

        Raises:
            ValueError: If positions are already written.
        """
        if self.length:
            raise ValueError(f"cannot pad a kv cache that holds {self.length} positions")
        self.starts = starts if bool(starts.any()) else None

    def write(
        self, layer: int, keys: Float[Tensor, "B G T K"], values: Float[Tensor, "B G T Kv"]
    ) -> tuple[Float[Tensor, "B G S K"], Float[Tensor, "B G S Kv"]]:
        """Stores the new positions of one layer and returns all that they may look at.

        Every layer of a forward pass writes at the same place; `advance` then moves it. Which
        index each returned key has, `key_indices` tells.

        Raises:
            ValueError: If the cache is full.
        """
        end = self.length + keys.shape[2]
        if end > self.max_len:
            raise ValueError(
                f"kv cache is full: {self.length} of {self.max_len} positions used,"
                f" {keys.shape[2]} more asked for"
            )
        return self._store(self.keys[layer], keys), self._store(self.values[layer], values)

    def key_indices(self, window: int, n_new: int) -> Int[Tensor, " S"]:
        """Index of each key that `write` returns to a layer of this window for `n_new` tokens."""
        room, end, device = self._room(window), self.length + n_new, self.keys[0].device
        if end <= room or n_new > 1:
            return torch.arange(max(0, self.length - room) * (end > room), end, device=device)
        slots = torch.arange(room, device=device)
        return self.length - (self.length - slots) % room

    def advance(self, n_tokens: int) -> None:
        """Counts the positions that all layers have just written."""
        self.length += n_tokens

    def truncate(self, length: int) -> None:
        """Forgets the positions from `length` on; their memory is kept for new ones.

        Raises:
            ValueError: If there are fewer, or a ring has overwritten what would be needed again.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot cut a kv cache of {self.length} positions to {length}")
        smallest = min(keys.shape[2] for keys in self.keys)
        if 0 < length < self.length and self.length > smallest:
            raise ValueError(
                f"cannot cut a kv cache of {self.length} positions to {length}: a layer keeps only"
                f" the last {smallest}"
            )
        self.length = length
        if length == 0:
            self.starts = None

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all rows but these, which are named in ascending order and close up."""
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):
                for new, old in enumerate(rows):
                    if new != old:
                        tensor[new] = tensor[old]
                tensors[layer] = tensor[: len(rows)]
        if self.starts is not None:
            self.starts = self.starts[list(rows)]

    def _room(self, window: int) -> int:
        return min(window, self.max_len) if window else self.max_len

    def _store(
        self, ring: Float[Tensor, "B G R K"], new: Float[Tensor, "B G T K"]
    ) -> Float[Tensor, "B G S K"]:
        start, room = self.length, ring.shape[2]
        end = start + new.shape[2]
        if end <= room:
            ring[:, :, start:end] = new
            return ring[:, :, :end]
        if new.shape[2] == 1:
            ring[:, :, start % room] = new[:, :, 0]
            return ring
        # The first of the new tokens still look at what the last of them overwrite.
        old = ring[:, :, :start] if start < room else ring.roll(-(start % room), dims=2)
        seen = torch.cat((old, new), dim=2)  # B G S K
        slots = torch.arange(end - room, end, device=ring.device) % room
        ring[:, :, slots] = seen[:, :, -room:]
        return seen
