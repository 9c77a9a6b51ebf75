"""How fast does a model of GPT-2's size (124M) write on a CPU, with and without its cache?

Rival: `generate` of Hugging Face transformers, on a Llama of the same shape with the very same
weights, in float32, on as many threads, with its own (dynamic) cache. Everyone continues the same
prompts greedily, one alone or eight side by side, always to the full number of tokens. `uncached`
is the same model of minillm that reads the whole text anew for every token. The weights are random:
what they are does not change how long they take to be multiplied.

Each process builds its model, writes four tokens to warm up, and then is timed. All must write the
same tokens.

    python benchmarks/generate.py [--new-tokens 512] [--repeats 5]
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

import harness
from harness import RESULTS, Contender
from tables import table

if TYPE_CHECKING:
    from minillm.model import Transformer

CONTENDERS = (
    Contender("minillm, batch 1", "minillm"),
    Contender("minillm, batch 8", "minillm"),
    Contender("transformers, batch 1", "transformers"),
    Contender("transformers, batch 8", "transformers"),
    Contender("uncached, batch 1", "minillm"),
)
RATIOS = {
    "uncached over cached": ("uncached, batch 1", "minillm, batch 1"),
    "transformers over minillm, batch 1": ("transformers, batch 1", "minillm, batch 1"),
    "transformers over minillm, batch 8": ("transformers, batch 8", "minillm, batch 8"),
}
PROMPT_TOKENS = 32
WARM_UP_TOKENS = 4
RENAMES = {
    "attention_norm.": "input_layernorm.",
    "ffn_norm.": "post_attention_layernorm.",
    "attention.": "self_attn.",
    "ffn.": "mlp.",
}
"""Parts of a layer whose name differs in transformers."""

Ids = list[list[int]]
Write = Callable[[Ids, int], Ids]
"""Continues prompts by so many tokens."""

app = App(name="generate")


@app.default
def main(
    *,
    new_tokens: int = 512,
    d_model: int = 768,
    n_layers: int = 12,
    vocab_size: int = 50_257,
    threads: int = 0,
    repeats: int = 5,
    max_seconds: float = float("inf"),
    only: Sequence[str] = (),
    out: Path | None = None,
    worker: Annotated[str | None, Parameter(show=False)] = None,
    report: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Measures everyone.

    Args:
        new_tokens: Tokens written after each prompt.
        d_model: Width; there is a head for each 64 channels.
        n_layers: Depth.
        vocab_size: Size of the vocabulary.
        threads: Threads of each contender; 0 is one for each core.
        repeats: Processes of each contender.
        max_seconds: A contender that took this long in all gets no more turns.
        only: Contenders to run; all if none is named.
        out: File of the result; `generate-NEW_TOKENS.json` in benchmarks/results when absent.
        worker: Do the job of this contender once (internal).
        report: Where a worker writes what it measured (internal).
    """
    shape = {"d_model": d_model, "n_layers": n_layers, "vocab_size": vocab_size}
    if worker is not None and report is not None:
        harness.answer(work(worker, shape, new_tokens, threads), report)
        return 0
    out = out or RESULTS / f"generate-{new_tokens}.json"
    contenders = harness.chosen(CONTENDERS, only, threads=threads)
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in shape.items()]
    arguments += [f"--new-tokens={new_tokens}", f"--threads={threads}"]
    measured = harness.measure(
        __file__, contenders, arguments, repeats=repeats, max_seconds=max_seconds
    )
    facts = {
        "new_tokens": new_tokens,
        "prompt_tokens": PROMPT_TOKENS,
        "model": shape,
        "threads": threads or "all",
        "ratios": ratios(measured),
    }
    question = f"continue prompts of {PROMPT_TOKENS} tokens by {new_tokens}"
    sound = harness.write_comparison(out, question, contenders, measured, facts)
    print(table(out))
    print(json.dumps(facts["ratios"], indent=1))
    return 0 if sound and harness.agree(out, "first_row_sha256") else 1


def ratios(measured: harness.Measured) -> dict[str, float]:
    """Median times of rivals over ours."""
    wall_s = {
        name: harness.summary([sample["wall_s"] for sample in own])["median"]
        for name, own in measured.samples.items()
    }
    return {
        name: wall_s[rival] / wall_s[ours]
        for name, (rival, ours) in RATIOS.items()
        if rival in wall_s and ours in wall_s
    }


def work(contender: str, shape: dict[str, int], new_tokens: int, threads: int) -> harness.Sample:
    """One process: the model, a warm-up, and the tokens."""
    from minillm.train.device import set_threads

    set_threads(threads)
    name, _, batch_size = contender.partition(", batch ")
    context_length = PROMPT_TOKENS + new_tokens
    write = PREPARE[name](build_model({**shape, "context_length": context_length}))
    prompts = [
        [(31 * row + 7 * place) % shape["vocab_size"] for place in range(PROMPT_TOKENS)]
        for row in range(int(batch_size))
    ]
    write(prompts, WARM_UP_TOKENS)
    rows, sample = harness.timed(lambda: write(prompts, new_tokens))
    digest = hashlib.sha256(json.dumps(rows[0]).encode()).hexdigest()
    return {**sample, "written": sum(map(len, rows)), "first_row_sha256": digest}


def build_model(shape: dict[str, int]) -> Transformer:
    """The model that everyone runs; its weights are drawn with a fixed seed."""
    import torch

    from minillm.config import ModelConfig
    from minillm.model import Transformer

    torch.manual_seed(0)
    # Five times as far apart as at birth: then no two logits are so near that rounding decides.
    return Transformer(
        ModelConfig(**shape, n_heads=shape["d_model"] // 64, init_std=0.1)  # type: ignore[arg-type]
    ).eval()


def prepare_minillm(model: Transformer) -> Write:
    """The cache of minillm."""
    from minillm.config import SampleConfig
    from minillm.infer import Generation

    def write(prompts: Ids, new_tokens: int) -> Ids:
        config = SampleConfig(temperature=0.0, max_new_tokens=new_tokens)
        rows: Ids = [[] for _ in prompts]
        for new in Generation(model, prompts, config, seeds=[0] * len(prompts), stop_ids=()):
            rows[new.row].append(new.id)
        return rows

    return write


def prepare_uncached(model: Transformer) -> Write:
    """The same model reads the whole text for each token."""
    import torch

    @torch.inference_mode()
    def write(prompts: Ids, new_tokens: int) -> Ids:
        ids = torch.tensor(prompts)
        for _ in range(new_tokens):
            newest = model.logits(model.hidden(ids)[:, -1:]).argmax(-1)
            ids = torch.cat((ids, newest), dim=1)
        rows: Ids = ids[:, PROMPT_TOKENS:].tolist()
        return rows

    return write


def prepare_transformers(model: Transformer) -> Write:
    """The same weights in a Llama of transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = model.config
    settings: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    theirs = LlamaForCausalLM(LlamaConfig(**settings)).train(mode=False)
    state = {renamed(name): weight for name, weight in model.state_dict().items()}
    theirs.load_state_dict({**state, "lm_head.weight": model.embed_tokens.weight})

    @torch.inference_mode()
    def write(prompts: Ids, new_tokens: int) -> Ids:
        ids = torch.tensor(prompts)
        written = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            do_sample=False,
        )
        rows: Ids = written[:, PROMPT_TOKENS:].tolist()
        return rows

    return write


def renamed(name: str) -> str:
    """The name that transformers gives to a weight of ours."""
    for ours, theirs in RENAMES.items():
        name = name.replace(f".{ours}", f".{theirs}")
    return f"model.{name}"


PREPARE: dict[str, Callable[[Transformer], Write]] = {
    "minillm": prepare_minillm,
    "uncached": prepare_uncached,
    "transformers": prepare_transformers,
}

if __name__ == "__main__":
    sys.exit(app())
