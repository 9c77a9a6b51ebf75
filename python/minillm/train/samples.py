"""`samples.txt`: what the model writes as it learns.

Each prompt is continued with the same seed every time, from a generator of its own, so that samples
of different steps can be compared and that sampling changes nothing about the training.
"""

import re
from pathlib import Path

from minillm.config import ModelConfig, SampleConfig
from minillm.data import ChatTemplate
from minillm.files import named_in_errors, replace_file
from minillm.infer import Sampler, TextStream, check_prompt, prompt_ids, stream_texts
from minillm.model import Transformer
from minillm.tokenizer import TextEncoder

NAME = "samples.txt"
_HEADER = re.compile(rb"^=== step (\d+) ===$", re.MULTILINE)


def sample_text(
    model: Transformer,
    tokenizer: TextEncoder,
    config: SampleConfig,
    *,
    seed: int,
    template: ChatTemplate | None,
) -> list[str]:
    """Each prompt with its continuation, or with a template the answer to it, up to its end."""
    texts = [prompt if template is None else f"{prompt} -> " for prompt in config.prompts]
    prompts = [_ids(tokenizer, prompt, template, config) for prompt in config.prompts]
    was_training = model.training
    model.eval()
    for new, text in stream_texts(
        model,
        tokenizer,
        prompts,
        config,
        seeds=[seed] * len(texts),
        stop_ids=() if template is None else template.stop_ids,
    ):
        texts[new.row] += text
    model.train(was_training)
    return texts


def check_samples(
    config: SampleConfig, tokenizer: TextEncoder, model: ModelConfig, template: ChatTemplate | None
) -> None:
    """Refuses, before the first step, what would stop the run at its first samples.

    Raises:
        ValueError: Naming the prompt, or the setting.
    """
    TextStream(tokenizer, config.stop)
    Sampler(config, [], [], vocab_size=model.vocab_size)
    for index, prompt in enumerate(config.prompts):
        try:
            ids = _ids(tokenizer, prompt, template, config)
            check_prompt(ids, model, name=f"sample.prompts[{index}]")
        except ValueError as error:
            hint = "set another by --sample.prompts, or do without by --generate-interval 0"
            error.add_note(hint)
            raise


def append_samples(folder: Path, step: int, texts: list[str]) -> None:
    """Adds the samples of one step to the file."""
    text = f"=== step {step} ===\n" + "".join(f"{text}\n\n" for text in texts)
    path = folder / NAME
    with named_in_errors(path), path.open("ab") as file:
        file.write(text.encode())


def cut_back_samples(folder: Path, step: int) -> None:
    """Forgets the samples that a run which resumes at `step` is going to write again.

    On bytes: a kill may have cut the last character, and what remains must not change by a bit.
    """
    path = folder / NAME
    if not path.exists():
        return
    content = path.read_bytes()
    places = [h.start() for h in _HEADER.finditer(content) if int(h.group(1)) >= step]
    whole, gap, _ = content.rpartition(b"\n\n")  # the last header may be cut, too
    replace_file(path, content[: min(places, default=len(whole + gap))])


def _ids(
    tokenizer: TextEncoder, prompt: str, template: ChatTemplate | None, config: SampleConfig
) -> list[int]:
    if template is None:
        return prompt_ids(tokenizer, prompt, bos_id=config.bos_id)
    return template.prompt_ids([{"role": "user", "content": prompt}])
