"""From logits to one token.

Three small functions, each logits to logits, and a sampler that puts them in the usual order:
temperature, top-k, top-p. The order matters: top-p then measures the probabilities that will be
drawn from. A token that is ruled out gets the logit -inf, that is the probability 0.

Sources: top-k from Fan et al., arXiv:1805.04833; top-p ("nucleus") from Holtzman et al.,
arXiv:1904.09751.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def scale_by_temperature(
    logits: Float[Tensor, "*B V"], temperature: float
) -> Float[Tensor, "*B V"]:
    """Divides by `temperature`: below 1 sharpens the distribution, above 1 flattens it.

    Raises:
        ValueError: If `temperature` is not positive; 0 is greedy, which is no distribution.
    """
    if not temperature > 0:
        raise ValueError(f"temperature ({temperature}) must be above 0 to scale by it")
    # The largest logit becomes 0 first, so that no temperature overflows.
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def keep_top_k(logits: Float[Tensor, "*B V"], k: int) -> Float[Tensor, "*B V"]:
    """Keeps exactly the `k` largest, all of them if there are no more; equals by lower id first.

    Raises:
        ValueError: If `k` is not positive.
    """
    if k < 1:
        raise ValueError(f"top_k ({k}) must be at least 1")
    # A stable sort and not `topk`, which breaks ties as it likes.
    order = logits.sort(dim=-1, descending=True, stable=True).indices  # *B V
    return logits.scatter(-1, order[..., k:], -torch.inf)


def keep_top_p(logits: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    """Keeps the likeliest tokens, as few as hold the probability `p` together.

    The token that crosses `p` is kept, so at least one is; equals by lower id first.

    Raises:
        ValueError: If `p` is not in (0, 1].
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p ({p}) must be above 0 and at most 1")
    if p == 1:  # rounding must not cost the tail
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)  # *B V
    chances = ordered.softmax(-1)
    before = chances.cumsum(-1) - chances  # probability of all that are likelier
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(dropped, -torch.inf)


class Sampler:
    """Draws tokens, one distribution after the other, from one seeded stream.

    Equal seeds give equal tokens on the same device and software.

    Args:
        temperature: 0 takes the likeliest token, the lower id among equals; the rest is then
            without effect.
        top_k: Only the k likeliest tokens; 0 allows all.
        top_p: Only the likeliest tokens that hold this probability; 1 allows all.
        seed: Start of the stream.
        device: Where the logits are.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= temperature < float("inf"):
            raise ValueError(f"temperature ({temperature}) must be 0 or above")
        if top_k < 0:
            raise ValueError(f"top_k ({top_k}) must be 0 (all tokens) or above")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p ({top_p}) must be above 0 and at most 1")
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self._generator = torch.Generator(device).manual_seed(seed)

    def probabilities(self, logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
        """The distribution that `draw` draws from, in float32 whatever the model's dtype.

        Raises:
            ValueError: If a logit is NaN or infinite.
        """
        logits = logits.float()
        if not bool(logits.isfinite().all()):
            raise ValueError("the model's logits are not finite: its weights are damaged")
        if self.temperature == 0:
            likeliest = logits.argmax(-1, keepdim=True)  # *B 1
            return torch.zeros_like(logits).scatter(-1, likeliest, 1.0)
        logits = scale_by_temperature(logits, self.temperature)
        if self.top_k:
            logits = keep_top_k(logits, self.top_k)
        return keep_top_p(logits, self.top_p).softmax(-1)

    def draw(self, logits: Float[Tensor, "V"]) -> int:
        """One token."""
        chances = self.probabilities(logits)
        if self.temperature == 0:
            return int(chances.argmax())
        return int(torch.multinomial(chances, 1, generator=self._generator))
