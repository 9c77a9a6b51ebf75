"""From logits to one token of each row.

Small functions, each logits to logits, and a sampler that puts them in the order that
`transformers` has: logit bias, repetition penalty, temperature, top-k, top-p, min-p. The order
matters: top-p then measures the probabilities that will be drawn from. A token that is ruled out
gets the logit -inf, that is the probability 0. The ranges of the settings are those of
`SampleConfig`, within which nothing overflows.

Sources: repetition penalty from Keskar et al., "CTRL", arXiv:1909.05858, section 4.1; top-k from
Fan et al., arXiv:1805.04833; top-p ("nucleus") from Holtzman et al., arXiv:1904.09751; min-p from
Nguyen et al., arXiv:2407.01082.
"""

import random
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from minillm.config import SampleConfig
from minillm.config.sections import FORBIDDING


def penalize_repetition(
    logits: Float[Tensor, "*B V"], seen: Bool[Tensor, "*B V"], penalty: float
) -> Float[Tensor, "*B V"]:
    """Divides the positive logits of `seen` tokens by `penalty` and multiplies the negative ones.

    CTRL only divides, which would make a token with a negative logit likelier; `transformers`
    mended that, and so it is here.
    """
    penalized = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, penalized, logits)


def scale_by_temperature(
    logits: Float[Tensor, "*B V"], temperature: float
) -> Float[Tensor, "*B V"]:
    """Divides by `temperature`: below 1 sharpens the distribution, above 1 flattens it."""
    # The largest logit becomes 0 first, so that no temperature overflows.
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def keep_top_k(logits: Float[Tensor, "*B V"], k: int) -> Float[Tensor, "*B V"]:
    """Keeps exactly the `k` largest, all of them if there are no more; equals by lower id first."""
    k = min(k, logits.shape[-1])
    last = logits.topk(k, dim=-1).values[..., -1:]  # *B 1
    # Which of several equals `topk` takes is not said, so it only tells where they begin.
    larger, equal = logits > last, logits == last
    room = k - larger.sum(-1, keepdim=True)  # *B 1
    kept = larger | (equal & (equal.cumsum(-1) <= room))
    return logits.masked_fill(~kept, -torch.inf)


def keep_top_p(logits: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    """Keeps the likeliest tokens, as few as hold the probability `p` together.

    The token that crosses `p` is kept, so at least one is; equals by lower id first.
    """
    if p == 1:  # rounding must not cost the tail
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)  # *B V
    chances = ordered.softmax(-1)
    before = chances.cumsum(-1) - chances  # probability of all that are likelier
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(dropped, -torch.inf)


def keep_min_p(logits: Float[Tensor, "*B V"], p: float) -> Float[Tensor, "*B V"]:
    """Keeps the tokens that are at least `p` times as likely as the likeliest one.

    Where the model is sure, few are left, and where it is not, many.
    """
    chances = logits.softmax(-1)
    return logits.masked_fill(chances < p * chances.amax(-1, keepdim=True), -torch.inf)


class Sampler:
    """Draws one token for each row of a batch, each row from a seeded stream of its own.

    So a row's tokens do not depend on which others are drawn beside it. Equal seeds give equal
    tokens from equal logits, whatever the device.

    Args:
        config: What to do with the logits; temperature 0 takes the likeliest token, the lower id
            among equals, and then the truncations are without effect.
        prompts: Ids of each row so far; the repetition penalty counts them.
        seeds: Start of each row's stream.
        vocab_size: Number of logits.
        absent: Ids that are never drawn.
        device: Where the logits are.

    Raises:
        ValueError: If a bias is for an id beyond the vocabulary, or no id is left to draw.
    """

    def __init__(
        self,
        config: SampleConfig,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        vocab_size: int,
        absent: Sequence[int] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        # Python's generator: one number a token is all it takes, and it is the same on any device.
        self._streams = [random.Random(seed) for seed in seeds]  # noqa: S311  no secrets
        self._bias: Tensor | None = None
        self._seen: Tensor | None = None
        if config.logit_bias or absent:
            self._bias = torch.zeros(vocab_size, device=device)
            for token, bias in config.logit_bias.items():
                if token >= vocab_size:
                    raise ValueError(f"logit_bias names id {token}, vocab_size is {vocab_size}")
                self._bias[token] = bias if bias > FORBIDDING else -torch.inf
            self._bias[list(absent)] = -torch.inf
            if not bool(self._bias.isfinite().any()):
                raise ValueError("logit_bias forbids every token, expected one that may be drawn")
        if config.repetition_penalty != 1:
            self._seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
            for row, prompt in enumerate(prompts):
                self._seen[row, list(prompt)] = True

    def keep(self, places: Sequence[int]) -> None:
        """Goes on with the rows at these places alone."""
        self._streams = [self._streams[place] for place in places]
        if self._seen is not None:
            self._seen = self._seen[list(places)]

    def draw(self, logits: Float[Tensor, "B V"]) -> Int[Tensor, " B"]:
        """One token for each row of finite logits."""
        adjusted = self._adjusted(logits)
        if self.config.temperature == 0:
            ids = adjusted.argmax(-1)  # B
        else:
            ids = self._pick(self._probabilities(adjusted))  # B
        if self._seen is not None:
            self._seen.scatter_(1, ids[:, None], True)
        return ids

    def probabilities(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """The distribution that `draw` draws from, in float32 whatever the model's dtype."""
        adjusted = self._adjusted(logits)
        if self.config.temperature == 0:
            likeliest = adjusted.argmax(-1, keepdim=True)  # B 1
            return torch.zeros_like(adjusted).scatter(-1, likeliest, 1.0)
        return self._probabilities(adjusted)

    def _adjusted(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """Logits with what depends on the token itself: bias and penalty."""
        logits = logits.float()
        if self._bias is not None:
            logits = logits + self._bias
        if self._seen is not None:
            logits = penalize_repetition(logits, self._seen, self.config.repetition_penalty)
        return logits

    def _probabilities(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """What temperature and truncation leave."""
        logits = scale_by_temperature(logits, self.config.temperature)
        if self.config.top_k:
            logits = keep_top_k(logits, self.config.top_k)
        if self.config.top_p < 1:
            logits = keep_top_p(logits, self.config.top_p)
        if self.config.min_p:
            logits = keep_min_p(logits, self.config.min_p)
        return logits.softmax(-1)

    def _pick(self, chances: Float[Tensor, "B V"]) -> Int[Tensor, " B"]:
        """Where the cumulated probability passes each row's next random number.

        In float64: summed in float32, the last ones of 50,000 tokens would hardly be counted.
        """
        wide = torch.float32 if chances.device.type == "mps" else torch.float64  # all that MPS has
        upto = chances.cumsum(-1, dtype=wide)  # B V
        numbers = [stream.random() for stream in self._streams]
        points = torch.tensor(numbers, dtype=wide, device=chances.device)[:, None] * upto[:, -1:]
        # Never the sum itself, to which the product may round: no token begins there.
        points = torch.minimum(points, upto[:, -1:].nextafter(torch.zeros_like(points)))
        return torch.searchsorted(upto, points, right=True)[:, 0]  # B


def log_probabilities(
    logits: Float[Tensor, "B V"], ids: Int[Tensor, " B"], n_top: int
) -> tuple[list[float], list[list[tuple[int, float]]]]:
    """Natural logarithms of the model's own probabilities: of `ids`, and of the `n_top` likeliest.

    By the logits as the model gave them, before bias, penalty, temperature and truncation: these
    are what a text's likelihood is made of, and do not change with how it was sampled.
    """
    logprobs = logits.float().log_softmax(-1)  # B V
    chosen: list[float] = logprobs.gather(-1, ids[:, None])[:, 0].tolist()
    top = logprobs.topk(min(n_top, logprobs.shape[-1]), dim=-1)  # B n_top
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return chosen, [list(zip(*pair, strict=True)) for pair in pairs]
