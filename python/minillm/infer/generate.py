"""Token by token: what a model says after a prompt.

Each step feeds the model only what it has not seen; keys and values of the rest are cached. When
the context is full, the later half of it is read again as if it were the whole text, and
generation goes on from there. The half is a bargain: reading one token less would lose nothing but
reread the context for every token, while this rereads it twice per `context_length` tokens, and the
model always knows at least half a context of what came before.
"""

from collections.abc import Collection, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minillm.infer.sampling import Sampler
from minillm.model import KVCache, Transformer
from minillm.tokenizer import TextEncoder


def generate(
    model: Transformer,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    stop_ids: Collection[int],
    absent: Sequence[int] = (),
) -> Iterator[int]:
    """Yields new tokens as they are drawn.

    The model is used as it stands: put it into `eval()` first, unless dropout is wanted.

    Args:
        model: Any causal model of the house.
        ids: Prompt; at least one token, at most the model's context.
        max_new_tokens: The most tokens to yield.
        temperature: See `Sampler`; so are the next three.
        top_k: 0 allows all tokens.
        top_p: 1 allows all tokens.
        seed: Equal seeds give equal tokens.
        stop_ids: Tokens that end the text; they are not yielded.
        absent: Ids that are never drawn, see `absent_ids`.

    Raises:
        ValueError: At once, and not when the first token is asked for: if the prompt is empty,
            longer than the context, or holds an id beyond the vocabulary, or if a setting is out
            of its range.
    """
    config = model.config
    check_prompt(ids, vocab_size=config.vocab_size, context_length=config.context_length)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens ({max_new_tokens}) must be 0 or above")
    device = model.embed_tokens.weight.device
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, device=device)
    stop = frozenset(stop_ids)
    never = torch.tensor(absent, dtype=torch.int64, device=device)
    return _generate(model, list(ids), max_new_tokens, sampler=sampler, stop=stop, never=never)


def absent_ids(tokenizer: TextEncoder, vocab_size: int) -> list[int]:
    """Ids that a model has rows for and the tokenizer no token: gaps, and the padding behind."""
    return sorted(set(range(vocab_size)) - tokenizer.vocab.keys())


def prompt_ids(tokenizer: TextEncoder, prompt: str) -> list[int]:
    """The prompt as the beginning of a document: after an end-of-text token, as in training."""
    start = [] if tokenizer.eot_id is None else [tokenizer.eot_id]
    return start + tokenizer.encode_ordinary(prompt)


def check_prompt(ids: Sequence[int], *, vocab_size: int, context_length: int) -> None:
    """Refuses a prompt that the model cannot read.

    Raises:
        ValueError: Naming what does not fit.
    """
    if not ids:
        raise ValueError("the prompt has no tokens; start from the end-of-text token instead")
    if len(ids) > context_length:
        raise ValueError(
            f"the prompt has {len(ids)} tokens, the model's context_length is {context_length}"
        )
    for position, token in enumerate(ids):
        if not 0 <= token < vocab_size:
            raise ValueError(
                f"token {position} of the prompt is {token}, vocab_size is {vocab_size}"
            )


def _generate(
    model: Transformer,
    ids: list[int],
    max_new_tokens: int,
    *,
    sampler: Sampler,
    stop: frozenset[int],
    never: Int[Tensor, " N"],
) -> Iterator[int]:
    """The loop. `ids` is what the cache holds and, at its end, what it is still to read."""
    cache = _new_cache(model)
    for _ in range(max_new_tokens):
        if len(ids) > cache.max_len:
            ids = ids[-(cache.max_len - cache.max_len // 2) :]
            cache.truncate(0)
        logits = _read(model, ids[cache.length :], cache)  # V
        # Lower than any logit and still finite: infinite ones are a sign of damage.
        token = sampler.draw(logits.index_fill(0, never, torch.finfo(logits.dtype).min))
        if token in stop:
            return
        yield token
        ids.append(token)


@torch.no_grad()
def _read(model: Transformer, unread: list[int], cache: KVCache) -> Float[Tensor, "V"]:
    """Feeds what is unread; the logits of what comes next."""
    device = model.embed_tokens.weight.device
    hidden = model.hidden(torch.tensor([unread], device=device), cache=cache)  # 1 T D
    return model.logits(hidden[:, -1:])[0, 0]  # V


def _new_cache(model: Transformer) -> KVCache:
    weight = model.embed_tokens.weight
    length = model.config.context_length
    return KVCache(model.config, 1, length, device=weight.device, dtype=weight.dtype)
