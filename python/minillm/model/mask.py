"""Masks: which keys each query may see.

Query i sees key j when all of these hold, i and j being their indices in the row:

- causal: j <= i;
- window: i - j < window, if the layer has one (Beltagy et al., "Longformer", arXiv:2004.05150,
  section 3.1; in Mistral's form, arXiv:2310.06825, section 2: the window counts the token itself);
- documents: both belong to the same one, if rows are packed from several. Padding on the left of a
  cached batch is a document of its own: no token sees it, and yet none of its own queries is left
  without any key, which softmax would turn into NaN.

A mask is built once per forward pass and window, and shared by the layers. It takes the cheapest
form that says the same: nothing where all keys are seen, a flag for the plain triangle (kernels
know that one), a boolean matrix, or FlexAttention's blocks, which let the kernel skip what is
hidden (Dong et al., "FlexAttention", arXiv:2412.05496).
"""

from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from minillm.model.cache import KVCache

if TYPE_CHECKING:
    from minillm.model.flex import BlockMask

Backend = Literal["sdpa", "flex", "reference"]


class Mask(NamedTuple):
    """Which keys each query may see: all, unless one of these says otherwise."""

    is_causal: bool = False
    dense: Bool[Tensor, "#B 1 T S"] | None = None
    blocks: "BlockMask | None" = None


def build_mask(
    n_queries: int,
    *,
    window: int,
    backend: Backend,
    device: torch.device,
    documents: Int[Tensor, "B T"] | None = None,
    cache: KVCache | None = None,
) -> Mask:
    """The mask of the next `n_queries` tokens.

    Args:
        n_queries: New tokens, T.
        window: Positions that a query sees, itself included; 0 for all.
        backend: Which attention will read it.
        device: Where the model is.
        documents: Number of each token's document; not together with a cache.
        cache: What the tokens are added to; they also see its keys.
    """
    start = 0 if cache is None else cache.length
    starts = None if cache is None else cache.starts
    if backend == "sdpa" and documents is None and starts is None:
        if n_queries == 1:  # the newest token: the cache returns just what it sees
            return Mask()
        if start == 0 and not 0 < window < n_queries:
            return Mask(is_causal=True)
    queries = torch.arange(start, start + n_queries, device=device)  # T
    keys = queries if cache is None else cache.key_indices(window, n_queries)  # S
    of_keys = documents
    if starts is not None:
        documents = (queries >= starts[:, None]).long()  # B T
        of_keys = (keys >= starts[:, None]).long()  # B S

    visible = partial(_is_visible, queries, keys, documents, of_keys, window)
    n_rows = None if documents is None else len(documents)
    if backend == "flex":
        from minillm.model.flex import create_block_mask  # noqa: PLC0415  slow to import

        blocks = create_block_mask(visible, n_rows, None, n_queries, len(keys), device)
        return Mask(blocks=blocks)
    batch = torch.arange(n_rows or 1, device=device)[:, None, None, None]  # B 1 1 1
    query = torch.arange(n_queries, device=device)[:, None]  # T 1
    key = torch.arange(len(keys), device=device)  # S
    dense = visible(batch, batch, query, key)
    return Mask(dense=dense.expand(n_rows or 1, 1, n_queries, len(keys)))  # B 1 T S


def _is_visible(  # noqa: PLR0917  the last four come from FlexAttention, by position
    query_indices: Int[Tensor, " T"],
    key_indices: Int[Tensor, " S"],
    of_queries: Int[Tensor, "B T"] | None,
    of_keys: Int[Tensor, "B S"] | None,
    window: int,
    batch: Tensor,
    _head: Tensor,
    query: Tensor,
    key: Tensor,
) -> Tensor:
    """The rule of this file for one score or, its places being tensors, for many."""
    distance = query_indices[query] - key_indices[key]
    seen = distance >= 0
    if window:
        seen = seen & (distance < window)
    if of_queries is not None and of_keys is not None:
        seen = seen & (of_queries[batch, query] == of_keys[batch, key])
    return seen
