"""`minillm generate`: continues prompts with a trained model.

The text goes to stdout, everything else to stderr. Texts that are decoded side by side come out one
after the other: the first as it is drawn, the others when it is their turn.

A prompt is taken for the beginning of a document: the token that in training stood before each
goes before it, end of text in a run of ours. So an empty prompt makes the model begin on its own.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import App, Parameter
from cyclopts.validators import Number

from minillm import messages

if TYPE_CHECKING:
    from minillm.config import SampleConfig
    from minillm.infer import LoadedRun, NewToken
    from minillm.tokenizer import TextEncoder

    Drawn = Iterator[tuple[NewToken, str]]

app = App(name="generate", version_flags=[], default_parameter=Parameter(negative=()))

AtLeast0 = Parameter(validator=Number(gte=0))
AtLeast1 = Parameter(validator=Number(gte=1))
From0To1 = Parameter(validator=Number(gte=0, lte=1))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What the run's own `sample` section decides unless it is given.

    Attributes:
        max_new_tokens: Longest continuation.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Sample from the k likeliest tokens; 0 from all.
        top_p: Sample from the likeliest tokens that hold this probability.
        min_p: Sample from the tokens at least this times as likely as the likeliest.
        repetition_penalty: Above 1, makes tokens of the text so far less likely.
        logit_bias: ID=NUMBER, added to the logit of a token; -1e9 forbids it; repeat for several.
        stop: Text that ends a sample and is not printed; repeat for several.
    """

    max_new_tokens: Annotated[int | None, AtLeast1] = None
    temperature: Annotated[float | None, AtLeast0] = None
    top_k: Annotated[int | None, AtLeast0] = None
    top_p: Annotated[float | None, Parameter(validator=Number(gt=0, lte=1))] = None
    min_p: Annotated[float | None, From0To1] = None
    repetition_penalty: Annotated[float | None, Parameter(validator=Number(gt=0))] = None
    logit_bias: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()


class Job(NamedTuple):
    """One text that is asked for."""

    prompt: str
    ids: list[int]
    seed: int
    title: str
    """What to tell before it; nothing if it is the only one."""


@app.default
def generate(
    run: Path,
    *,
    prompt: tuple[str, ...] = (),
    prompt_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    sampling: Annotated[Sampling | None, Parameter(name="*")] = None,
    seed: Annotated[int, AtLeast0] = 0,
    num_samples: Annotated[int, AtLeast1] = 1,
    batch_size: Annotated[int, AtLeast1] = 8,
    json_lines: Annotated[bool, Parameter("--json")] = False,
    logprobs: Annotated[int | None, AtLeast0] = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    adapter: Path | None = None,
    model: dict[str, str] | None = None,
) -> None:
    """Continue prompts with a trained model.

    Where an option is not given, the run's own `sample` section decides.

    Args:
        run: A run folder, whose newest checkpoint is taken, or one checkpoint.
        prompt: Beginning of a text; repeat for several. Empty, or none: the model begins.
        prompt_file: More prompts, one on each line; - is standard input.
        sampling: How to draw; what is not given, the run's own `sample` section decides.
        seed: Equal seeds give equal text; sample i of a prompt has the seed plus i.
        num_samples: How many samples to draw of each prompt.
        batch_size: How many texts to decode side by side.
        json_lines: Print one JSON object for each sample, on one line.
        logprobs: With --json: each token, its log-probability, and so many of the likeliest ones.
        device: Where to compute.
        adapter: Folder of an adapter in PEFT's format, for this model.
        model: --model.FIELD VALUE for what changes no weight, such as context_length, rope_scaling.
    """
    sampling = sampling or Sampling()
    if "" in sampling.stop:
        raise messages.UsageError("--stop is empty, expected at least one character")
    if logprobs is not None and not json_lines:
        error = messages.UsageError("--logprobs has no place in plain text")
        raise messages.with_hint(error, "add --json")
    given = asdict(sampling) | {"logit_bias": parse_biases(sampling.logit_bias)}
    prompts = [*prompt, *read_prompts(prompt_file)] or [""]
    from minillm.infer import load_run, stream_texts  # noqa: PLC0415  imports torch
    from minillm.interop import lay_adapters  # noqa: PLC0415
    from minillm.model.lora import merge_adapter  # noqa: PLC0415
    from minillm.train.device import choose_device  # noqa: PLC0415

    loaded = load_run(run, device=str(choose_device(device)), model=model)
    if adapter is not None:
        lay_adapters([adapter], loaded.model)
        merge_adapter(loaded.model)
    known = {name: value for name, value in given.items() if value not in (None, (), {})}
    settings = check_settings({**loaded.config.sample.model_dump(), **known})
    jobs = jobs_of(loaded, prompts, range(seed, seed + num_samples))
    began, n_tokens = time.perf_counter(), 0
    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        drawn = stream_texts(
            loaded.model,
            loaded.tokenizer,
            [job.ids for job in batch],
            settings,
            seeds=[job.seed for job in batch],
            logprobs=logprobs,
        )
        shown = as_json(drawn, batch, loaded.tokenizer) if json_lines else as_text(drawn, batch)
        n_tokens += print_in_order(shown, batch)
    elapsed_s = time.perf_counter() - began
    messages.say(f"{n_tokens} tokens in {elapsed_s:.1f} s, {n_tokens / elapsed_s:.0f} tokens/s")


def check_settings(settings: dict[str, Any]) -> SampleConfig:
    """The settings of the run and of the command line together, if they are within their bounds."""
    from minillm.config import SampleConfig, validated  # noqa: PLC0415  takes a while

    try:
        return validated(SampleConfig, settings)
    except ValueError as error:
        raise messages.UsageError(str(error)) from error


def parse_biases(words: Sequence[str]) -> dict[int, float]:
    """The values of --logit-bias, by their ids.

    Raises:
        UsageError: If one is not an id and a finite number.
    """
    biases = {}
    for word in words:
        match = re.fullmatch(r"(\d+)=([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?)", word)
        if match is None:
            expected = "expected ID=NUMBER, as in 13=-2.5"
            raise messages.UsageError(f"--logit-bias is `{word}`, {expected}")
        biases[int(match[1])] = float(match[2])
    return biases


def read_prompts(file: Path | None) -> list[str]:
    """The lines of a file, but for the empty ones.

    Raises:
        ValueError: If there are none, or the file is not UTF-8.
    """
    if file is None:
        return []
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"`{file}` is not UTF-8 text") from error
    prompts = [line for line in text.split("\n") if line]
    if not prompts:
        raise ValueError(f"`{file}` holds no prompt, expected one on each line")
    return prompts


def jobs_of(loaded: LoadedRun, prompts: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """Each prompt with each seed.

    Raises:
        ValueError: If the model cannot read one of the prompts.
    """
    from minillm.infer import check_prompt, prompt_ids  # noqa: PLC0415

    jobs: list[Job] = []
    n_jobs = len(prompts) * len(seeds)
    for number, prompt in enumerate(prompts, 1):
        ids = prompt_ids(loaded.tokenizer, prompt, bos_id=loaded.config.sample.bos_id)
        name = "the prompt" if len(prompts) == 1 else f"prompt {number}"
        check_prompt(ids, loaded.config.model, name=name)
        for seed in seeds:
            title = f"sample {len(jobs) + 1} of {n_jobs}, seed {seed}:" if n_jobs > 1 else ""
            jobs.append(Job(prompt, ids, seed, title))
    return jobs


def as_text(drawn: Drawn, batch: Sequence[Job]) -> Drawn:
    """Each prompt, its text, and the end of a line."""
    prompts = [job.prompt for job in batch]
    for new, text in drawn:
        before, prompts[new.row] = prompts[new.row], ""
        yield new, before + text + ("\n" if new.finish else "")


def as_json(drawn: Drawn, batch: Sequence[Job], tokenizer: TextEncoder) -> Drawn:
    """Nothing until a text is complete, then a line with all about it."""
    records: list[dict[str, Any]] = [
        {"prompt": job.prompt, "seed": job.seed, "text": "", "finish": None} for job in batch
    ]

    def describe(token: int, logprob: float) -> dict[str, Any]:
        return {"id": token, "text": tokenizer.decode([token]), "logprob": logprob}

    for new, text in drawn:
        record = records[new.row]
        record["text"] += text
        record["finish"] = new.finish
        if new.logprob is not None:
            top = [describe(token, logprob) for token, logprob in new.top]
            token = describe(new.id, new.logprob) | ({"top": top} if top else {})
            record.setdefault("tokens", []).append(token)
        yield new, json.dumps(record, ensure_ascii=False) + "\n" if new.finish else ""


def print_in_order(shown: Drawn, batch: Sequence[Job]) -> int:
    """Writes what is shown of each row, the first at once, the others in turn; counts tokens."""
    n_tokens, row, is_new = 0, 0, True
    waiting, finished = [""] * len(batch), [False] * len(batch)
    for new, text in shown:
        n_tokens += 1
        waiting[new.row] += text
        finished[new.row] = new.finish is not None
        while row < len(batch) and waiting[row]:
            if is_new and batch[row].title:
                messages.say(batch[row].title)
            sys.stdout.write(waiting[row])
            sys.stdout.flush()
            waiting[row], is_new = "", finished[row]
            row += finished[row]
    return n_tokens


if __name__ == "__main__":
    sys.exit(messages.run(app))
