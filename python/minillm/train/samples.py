"""`samples.txt`: what the model writes as it learns.

Each prompt is continued with the same seed every time, from a generator of its own, so that samples
of different steps can be compared and that sampling changes nothing about the training.
"""

import re
from pathlib import Path

from minillm.checkpoint import replace_file
from minillm.config import SampleConfig
from minillm.infer import generate
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer

NAME = "samples.txt"
_HEADER = re.compile(r"^=== step (\d+) ===$", re.MULTILINE)


def sample_text(
    model: Transformer, tokenizer: Tokenizer, config: SampleConfig, *, seed: int
) -> list[str]:
    """Each prompt with its continuation, up to the end of the text or `max_new_tokens`.

    A prompt begins a document, so the end-of-text token, which stood before each document in
    training, goes before it.
    """
    start = [] if tokenizer.eot_id is None else [tokenizer.eot_id]
    was_training = model.training
    model.eval()
    texts = []
    for prompt in config.prompts:
        new_ids = generate(
            model,
            start + tokenizer.encode_ordinary(prompt),
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=seed,
            stop_ids=start,
        )
        texts.append(prompt + tokenizer.decode(list(new_ids)))
    model.train(was_training)
    return texts


def append_samples(folder: Path, step: int, texts: list[str]) -> None:
    """Adds the samples of one step to the file."""
    with (folder / NAME).open("a", encoding="utf-8") as file:
        file.write(f"=== step {step} ===\n" + "".join(f"{text}\n\n" for text in texts))


def cut_back_samples(folder: Path, step: int) -> None:
    """Forgets the samples that a run which resumes at `step` is going to write again."""
    path = folder / NAME
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    for header in _HEADER.finditer(text):
        if int(header.group(1)) >= step:
            replace_file(path, text[: header.start()].encode())
            return
