"""`minillm generate`: continues a prompt with a trained model.

The text goes to stdout as it is drawn, everything else to stderr. The prompt is taken for the
beginning of a document: the end-of-text token, which in training stood before each, goes before
it. So an empty prompt makes the model begin on its own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from minillm import messages

if TYPE_CHECKING:
    from minillm.config import SampleConfig
    from minillm.infer import LoadedRun

app = App(name="generate", help="Continue a prompt with a trained model.", version_flags=[])

AtLeast0 = Parameter(validator=Number(gte=0))
AtLeast1 = Parameter(validator=Number(gte=1))


@app.default
def generate(
    run: Path,
    *,
    prompt: str = "",
    max_new_tokens: Annotated[int | None, AtLeast1] = None,
    temperature: Annotated[float | None, AtLeast0] = None,
    top_k: Annotated[int | None, AtLeast0] = None,
    top_p: Annotated[float | None, Parameter(validator=Number(gt=0, lte=1))] = None,
    seed: Annotated[int, AtLeast0] = 0,
    stop: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    num_samples: Annotated[int, AtLeast1] = 1,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Continue a prompt with a trained model.

    Where an option is not given, the run's own `sample` section decides.

    Args:
        run: A run folder, whose newest checkpoint is taken, or one checkpoint.
        prompt: Beginning of the text; empty lets the model begin.
        max_new_tokens: Longest continuation.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Sample from the k likeliest tokens; 0 from all.
        top_p: Sample from the likeliest tokens that hold this probability.
        seed: Equal seeds give equal text; sample i of several has the seed plus i.
        stop: Text that ends a sample and is not printed; repeat for several.
        num_samples: How many samples to draw.
        device: Where to compute.
    """
    if "" in stop:
        raise messages.UsageError("--stop is empty, expected at least one character")
    given = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
    }
    from minillm.infer import load_run, prompt_ids  # noqa: PLC0415  imports torch
    from minillm.train.device import choose_device  # noqa: PLC0415

    loaded = load_run(run, device=str(choose_device(device)))
    known = {name: value for name, value in given.items() if value is not None}
    settings = loaded.config.sample.model_copy(update=known)
    ids = prompt_ids(loaded.tokenizer, prompt)
    check_length(ids, loaded.config.model.context_length)
    for index in range(num_samples):
        if num_samples > 1:
            messages.say(f"sample {index + 1} of {num_samples}, seed {seed + index}:")
        print_sample(loaded, ids, prompt, settings, seed=seed + index, stop=stop)


def check_length(ids: list[int], context_length: int) -> None:
    """Refuses a prompt that cannot be continued, in the words of the command line.

    Raises:
        ValueError: If it is longer than the context, or there is nothing to begin from.
    """
    if not ids:
        raise ValueError("the prompt is empty, and the tokenizer has no end-of-text token")
    if len(ids) > context_length:
        error = ValueError(
            f"the prompt has {len(ids)} tokens, with the end-of-text token before it;"
            f" the model's context_length is {context_length}"
        )
        raise messages.with_hint(error, f"cut it to its last {context_length - 1} tokens")


def print_sample(
    loaded: LoadedRun,
    ids: list[int],
    prompt: str,
    settings: SampleConfig,
    *,
    seed: int,
    stop: tuple[str, ...],
) -> None:
    """Writes one sample to stdout while it is drawn, and its speed to stderr."""
    from minillm.infer import TextStream, absent_ids, generate  # noqa: PLC0415

    tokenizer = loaded.tokenizer
    stream = TextStream(tokenizer, stop)
    tokens = generate(
        loaded.model,
        ids,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        seed=seed,
        stop_ids=() if tokenizer.eot_id is None else (tokenizer.eot_id,),
        absent=absent_ids(tokenizer, loaded.config.model.vocab_size),
    )
    began, n_tokens = time.perf_counter(), 0
    _write(prompt)
    for token in tokens:
        n_tokens += 1
        _write(stream.push([token]))
        if stream.stopped:
            break
    _write(stream.finish() + "\n")
    elapsed_s = time.perf_counter() - began
    messages.say(f"{n_tokens} tokens in {elapsed_s:.1f} s, {n_tokens / elapsed_s:.0f} tokens/s")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(messages.run(app))
