"""`samples.txt`: what the model writes as it learns.

Each prompt is continued with the same seed every time, from a generator of its own, so that samples
of different steps can be compared and that sampling changes nothing about the training.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from minillm.checkpoint import replace_file
from minillm.config import SampleConfig
from minillm.infer import absent_ids, check_prompt, generate, prompt_ids
from minillm.model import Transformer
from minillm.tokenizer import TextEncoder

NAME = "samples.txt"
_HEADER = re.compile(rb"^=== step (\d+) ===$", re.MULTILINE)


def sample_text(
    model: Transformer, tokenizer: TextEncoder, config: SampleConfig, *, seed: int
) -> list[str]:
    """Each prompt with its continuation, up to the end of the text or `max_new_tokens`."""
    absent = absent_ids(tokenizer, model.config.vocab_size)
    was_training = model.training
    model.eval()
    texts = []
    for prompt in config.prompts:
        new_ids = generate(
            model,
            prompt_ids(tokenizer, prompt),
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=seed,
            stop_ids=() if tokenizer.eot_id is None else (tokenizer.eot_id,),
            absent=absent,
        )
        texts.append(prompt + tokenizer.decode(list(new_ids)))
    model.train(was_training)
    return texts


def check_prompts(
    prompts: Sequence[str], tokenizer: TextEncoder, *, vocab_size: int, context_length: int
) -> None:
    """Refuses, before the first step, a prompt that would stop the run at its first samples.

    Raises:
        ValueError: Naming the prompt.
    """
    for index, prompt in enumerate(prompts):
        try:
            ids = prompt_ids(tokenizer, prompt)
            check_prompt(ids, vocab_size=vocab_size, context_length=context_length)
        except ValueError as error:
            raise ValueError(
                f"sample.prompts[{index}]: {error}"
                "\nhint: set another by --sample.prompts, or do without by --generate-interval 0"
            ) from error


def append_samples(folder: Path, step: int, texts: list[str]) -> None:
    """Adds the samples of one step to the file."""
    text = f"=== step {step} ===\n" + "".join(f"{text}\n\n" for text in texts)
    with (folder / NAME).open("ab") as file:
        file.write(text.encode())


def cut_back_samples(folder: Path, step: int) -> None:
    """Forgets the samples that a run which resumes at `step` is going to write again.

    On bytes: a kill may have cut the last character, and what remains must not change by a bit.
    """
    path = folder / NAME
    if not path.exists():
        return
    content = path.read_bytes()
    for header in _HEADER.finditer(content):
        if int(header.group(1)) >= step:
            replace_file(path, content[: header.start()])
            return
