"""Token by token: what a model says after prompts, for one text or many side by side.

Each step feeds the model only what it has not seen; keys and values of the rest are cached. Texts
of different length end in the same column: the shorter ones are padded on the left, and the cache
hides the padding. A text that ends leaves the batch.

When a text fills the context, its later half is read again as if it were the whole text, and
generation goes on from there. The half is a bargain: reading one token less would lose nothing but
reread the context for every token, while this rereads it twice per `context_length` tokens, and the
model always knows at least half a context of what came before.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minillm.config import ModelConfig, SampleConfig
from minillm.infer.sampling import Sampler, log_probabilities
from minillm.messages import with_hint
from minillm.model import KVCache, Transformer, check_finite
from minillm.tokenizer import TextEncoder


class NewToken(NamedTuple):
    """One token of one text.

    Attributes:
        row: Number of its prompt.
        id: The token.
        logprob: Logarithm of its probability by the model's own logits, if that was asked for.
        top: The likeliest tokens at its place and their logarithms, as many as were asked for.
        finish: Set on a text's last token: `stop` if that is a stop id, which is no part of the
            text, and `length` if it has as many tokens as it may.
    """

    row: int
    id: int
    logprob: float | None = None
    top: Sequence[tuple[int, float]] = ()
    finish: Literal["stop", "length"] | None = None


class Generation:
    """Iterates over the new tokens of all texts, as they are drawn.

    The tokens of a text do not depend on the others (but for rounding). The model is used as it
    stands: put it into `eval()` first, unless dropout is wanted.

    Args:
        model: Any causal model of the house.
        prompts: Ids of each text so far: at least one, at most the model's context.
        config: How to draw, and how many; `prompts` and `stop` in it are texts, and `stream_texts`
            looks at them.
        seeds: Of each text; equal seeds give equal tokens.
        stop_ids: Tokens that end a text, beside those of `config`.
        absent: Ids that are never drawn, see `absent_ids`.
        logprobs: Report the probability of each token and of this many likeliest ones.

    Raises:
        ValueError: At once, and not when the first token is asked for: if a prompt is empty,
            longer than the context, or holds an id beyond the vocabulary, a bias is for one, or all
            are forbidden. While tokens are drawn: if a logit is not finite, with the first weight
            that is not.
    """

    def __init__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        config: SampleConfig,
        *,
        seeds: Sequence[int],
        stop_ids: Collection[int],
        absent: Sequence[int] = (),
        logprobs: int | None = None,
    ) -> None:
        if len(seeds) != len(prompts):
            raise ValueError(f"there are {len(prompts)} prompts and {len(seeds)} seeds")
        shape, weight = model.config, model.embed_tokens.weight
        for row, prompt in enumerate(prompts):
            name = "the prompt" if len(prompts) == 1 else f"prompt {row}"
            check_prompt(prompt, shape, name=name)
        self._model = model
        self._device = weight.device
        self._texts = [list(prompt) for prompt in prompts]
        self._rows = list(range(len(prompts)))
        self._max_new_tokens = config.max_new_tokens
        self._stop_ids = frozenset({*stop_ids, *config.stop_ids})
        self._logprobs = logprobs
        self._sampler = Sampler(
            config, prompts, seeds, vocab_size=shape.vocab_size, absent=absent, device=self._device
        )
        longest = max(map(len, prompts), default=0) + config.max_new_tokens
        room = min(shape.context_length, longest)
        self._cache = KVCache(shape, len(prompts), room, device=self._device, dtype=weight.dtype)

    def stop(self, row: int) -> None:
        """Ends a text: no more tokens of it will come."""
        if row in self._rows:
            self._rows[self._rows.index(row)] = -1

    def __iter__(self) -> Iterator[NewToken]:
        unread = self._reread() if self._rows else None  # B T
        for n_left in range(self._max_new_tokens - 1, -1, -1):
            if unread is None:
                return
            logits = self._read(unread)  # B V
            drawn = self._sampler.draw(logits)  # B
            yield from self._report(logits, drawn, is_last=n_left == 0)
            unread = self._advance(drawn[:, None])

    def _report(
        self, logits: Float[Tensor, "B V"], drawn: Int[Tensor, " B"], *, is_last: bool
    ) -> Iterator[NewToken]:
        """Adds what was drawn to the texts, and tells it."""
        tokens: list[int] = drawn.tolist()
        logprobs: Sequence[float | None] = [None] * len(tokens)
        tops: Sequence[Sequence[tuple[int, float]]] = [()] * len(tokens)
        if self._logprobs is not None:
            logprobs, tops = log_probabilities(logits, drawn, self._logprobs)
        for place, token in enumerate(tokens):
            row = self._rows[place]
            if row < 0:  # stopped after a token of another text
                continue
            self._texts[row].append(token)
            is_stop = token in self._stop_ids
            if is_stop:
                self.stop(row)
            finish: Literal["stop", "length"] | None = "length" if is_last else None
            yield NewToken(row, token, logprobs[place], tops[place], "stop" if is_stop else finish)

    def _advance(self, unread: Int[Tensor, "B 1"]) -> Int[Tensor, "B T"] | None:
        """What is to be read next: the new tokens of the texts that go on, or their contexts."""
        places = [place for place, row in enumerate(self._rows) if row >= 0]
        if len(places) < len(self._rows):
            self._rows = [self._rows[place] for place in places]
            if not places:
                return None
            self._sampler.keep(places)
            self._cache.keep(places)
            unread = unread[places]
        return self._reread() if self._cache.length == self._cache.max_len else unread

    def _reread(self) -> Int[Tensor, "B T"]:
        """Empties the cache; all that it held, what fell out of the context left away, padded."""
        context_length = self._model.config.context_length
        for row in self._rows:
            if len(self._texts[row]) > context_length:
                del self._texts[row][: -(context_length - context_length // 2)]
        texts = [self._texts[row] for row in self._rows]
        longest = max(map(len, texts))
        starts = [longest - len(text) for text in texts]
        self._cache.truncate(0)
        self._cache.pad(torch.tensor(starts, device=self._device))
        padded = [[0] * start + text for start, text in zip(starts, texts, strict=True)]
        return torch.tensor(padded, device=self._device)

    @torch.inference_mode()
    def _read(self, unread: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
        """Feeds what is unread; the logits of what comes next."""
        hidden = self._model.hidden(unread, cache=self._cache)  # B T D
        logits = self._model.logits(hidden[:, -1:])[:, 0]  # B V
        check_finite(logits.float().sum().item(), "sum of the model's logits", self._model)
        return logits


def absent_ids(tokenizer: TextEncoder, vocab_size: int) -> list[int]:
    """Ids that a model has rows for and the tokenizer no token: gaps, and the padding behind."""
    return sorted(set(range(vocab_size)) - tokenizer.vocab.keys())


def prompt_ids(tokenizer: TextEncoder, prompt: str, *, bos_id: int | None = None) -> list[int]:
    """The prompt as the beginning of a document: after `bos_id` or, as in training, end of text."""
    start = tokenizer.eot_id if bos_id is None else bos_id
    return ([] if start is None else [start]) + tokenizer.encode_ordinary(prompt)


def check_prompt(ids: Sequence[int], model: ModelConfig, *, name: str = "the prompt") -> None:
    """Refuses a prompt that the model cannot read.

    Raises:
        ValueError: Naming what does not fit.
    """
    if not ids:
        raise ValueError(f"{name} has no tokens, and a model needs one to begin from")
    most, vocab_size = model.context_length, model.vocab_size
    if len(ids) > most:
        error = ValueError(f"{name} has {len(ids)} tokens, the model's context_length is {most}")
        hint = f"cut it to its last {most - 1}; an end-of-text token before it counts too"
        raise with_hint(error, hint)
    for position, token in enumerate(ids):
        if not 0 <= token < vocab_size:
            raise ValueError(f"token {position} of {name} is {token}, vocab_size is {vocab_size}")
