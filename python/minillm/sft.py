"""`minillm sft`: fine-tunes a model on conversations.

    python -m minillm.sft --init-from runs/a --data chat.jsonl --out-dir runs/chat
    python -m minillm.sft --init-from runs/a --data chat.jsonl --preview 3
    python -m minillm.sft --init-from runs/a --data chat.jsonl --lora.rank 16 --out-dir runs/lora
    python -m minillm.sft --out-dir runs/chat --resume

A run like those of `minillm pretrain`, with other data: what `data/conversations.py` reads, written
down by the chat template of the model that it begins from. The assistant's turns alone are learned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import Parameter
from cyclopts.validators import Number

from minillm import messages
from minillm.config import Config
from minillm.files import named_in_errors, replace_file
from minillm.messages import UsageError
from minillm.options import configured_app, parse_fields, usable_config
from minillm.pretrain import config_of_run, is_begun, run

if TYPE_CHECKING:
    from minillm.data import ChatTemplate
    from minillm.interop import Parts
    from minillm.tokenizer import Tokenizer

app = configured_app("sft")


@app.default
def main(
    *fields: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    recipe: str = "sft",
    config: Path | None = None,
    chat_template: Path | None = None,
    preview: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    resume: bool = False,
    resume_auto: Annotated[bool, Parameter(show=False)] = False,
    quiet: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Fine-tune a model on conversations.

    Args:
        fields: Values of the configuration.
        recipe: How to train: a preset or a file.
        config: File with any part of the tree.
        chat_template: Jinja file, instead of the model's own template.
        preview: Show so many conversations, what is learned in color, and stop.
        resume: Go on with the run in --out-dir; `--resume auto`: or begin it if there is none.
        resume_auto: As `--resume auto`.
        quiet: Show errors only.
        as_json: Print the metrics as lines of JSON.
    """
    overrides = parse_fields(fields, app)
    train = partial(run, eval_only=False, quiet=quiet, as_json=as_json)
    presets = {"config": config, "chat-template": chat_template}
    if resume_auto and is_begun(overrides):
        resume, presets = True, {}
    if resume:
        resolved = config_of_run(presets, overrides)
        result = train(resolved, resume=True)
        return 0 if result.is_complete else messages.EXIT_RESUMABLE
    if "train.init_from" not in overrides:
        raise UsageError("--init-from is missing: the run or Hugging Face folder to fine-tune")
    if not overrides.get("data.path", "").endswith(".jsonl"):
        raise UsageError("--data is missing, or no .jsonl file of conversations")
    from minillm.interop import read_model  # noqa: PLC0415  imports torch

    parts = read_model(Path(overrides["train.init_from"]))
    shape = parts.model.model_dump()
    base = {"sample": parts.sample.model_dump(include={"stop_ids", "bos_id"})}
    resolved = usable_config(
        model=shape, recipe=recipe, file=config, overrides=overrides, base=base
    )
    template = _template(parts, chat_template)
    if preview:
        _preview(resolved, template, preview)
        return 0
    with _laid_down(resolved.train.out_dir, template):
        result = train(resolved, resume=False, weights=parts.tensors)
    return 0 if result.is_complete else messages.EXIT_RESUMABLE


def _template(parts: Parts, file: Path | None) -> ChatTemplate:
    """The template to write conversations down by: of the file, the model, or the plain one.

    Raises:
        ValueError: If it does not go with the model's tokenizer.
    """
    from minillm.data.chat_template import PLAIN, ChatTemplate  # noqa: PLC0415

    if parts.tokenizer is None:
        raise ValueError("the model has no tokenizer.json: conversations cannot be encoded for it")
    with named_in_errors(str(file)):
        source = file.read_text(encoding="utf-8") if file else parts.chat_template or PLAIN
    template = ChatTemplate(source, parts.tokenizer)
    template.check()
    return template


@contextmanager
def _laid_down(folder: Path, template: ChatTemplate) -> Iterator[None]:
    """Puts what a new run is to read its data by into its folder, for as long as it may become one.

    Raises:
        ValueError: If something else is there.
    """
    from minillm.infer import CHAT_TEMPLATE  # noqa: PLC0415
    from minillm.train import has_run  # noqa: PLC0415

    if has_run(folder):  # the run itself refuses that
        yield
        return
    files = {
        folder / "tokenizer.json": cast("Tokenizer", template.tokenizer).to_json().encode(),
        folder / CHAT_TEMPLATE: template.source.encode(),
    }
    for path in sorted(folder.glob("[!.]*")):  # a process that was killed here has left its own
        if not path.is_file() or files.get(path) != path.read_bytes():
            error = ValueError(f"`{folder}` is no run, and not empty: it holds `{path.name}`")
            raise messages.with_hint(error, "choose another --out-dir")
    for path, content in files.items():
        replace_file(path, content)
    try:
        yield
    finally:
        if not has_run(folder):
            for name in ("tokenizer.json", CHAT_TEMPLATE):
                (folder / name).unlink(missing_ok=True)


def _preview(config: Config, template: ChatTemplate, count: int) -> None:
    """Prints conversations as the model will read them, what it learns in green or in brackets."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from minillm.data import Conversations  # noqa: PLC0415

    read = Conversations(config.data.path, template, seq_len=config.train.seq_len)
    console = Console()
    for number, one in enumerate(read.kept[:count], 1):
        shown = Text()
        for learned, pairs in groupby(zip(one.learned, one.ids, strict=True), lambda pair: pair[0]):
            text = template.tokenizer.decode([token for _, token in pairs])
            marked = f"[[{text}]]" if learned and not console.is_terminal else text
            shown.append(marked, style="bold green" if learned else "dim")
        console.print(shown, soft_wrap=True, highlight=False)
        messages.say(f"{number}: {len(one.ids)} tokens, of which {sum(one.learned)} are learned")


if __name__ == "__main__":
    sys.exit(messages.run(app))
