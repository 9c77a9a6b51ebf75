"""`minillm chat`: talks with a model in the terminal, or answers lines from a pipe.

    minillm chat runs/chat
    echo "What is a fox?" | minillm chat runs/chat > answer.txt

Answers go to stdout, everything else to stderr. Each line is a turn, and the model sees all turns
so far: when they fill its context, the oldest are forgotten. A model without a chat template has
not learned to answer; there each line is the beginning of a text, which it completes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from minillm import messages
from minillm.generate import check_settings
from minillm.messages import UsageError, say

if TYPE_CHECKING:
    from minillm.data import ChatTemplate
    from minillm.infer import LoadedRun

app = App(name="chat", help="Talk with a fine-tuned model.", version_flags=[])


@app.default
def chat(
    run: Path,
    *,
    system: str = "",
    adapter: tuple[Path, ...] = (),
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Talk with a fine-tuned model; `/help` tells what else can be typed.

    Where an option is not given, the run's own `sample` section decides.

    Args:
        run: A run folder, whose newest checkpoint is taken, or one checkpoint.
        system: What the model is told before the first turn.
        adapter: Folder of an adapter in PEFT's format; repeat for several. The last one speaks
            first, `/adapter NAME` changes to another and `/adapter` to none.
        temperature: Divides the logits; 0 always takes the likeliest token.
        max_new_tokens: Longest answer.
        seed: Equal seeds give equal answers to equal words.
        device: Where to compute.
    """
    from minillm.infer import load_run  # noqa: PLC0415  imports torch
    from minillm.interop import lay_adapters  # noqa: PLC0415
    from minillm.train.device import choose_device  # noqa: PLC0415

    talk = Talk(load_run(run, device=str(choose_device(device))), system=system, seed=seed)
    lay_adapters(adapter, talk.loaded.model)
    given = {"temperature": temperature, "max_new_tokens": max_new_tokens}
    talk.change({name: value for name, value in given.items() if value is not None})
    is_typed = sys.stdin.isatty() and sys.stdout.isatty()
    if is_typed:
        import readline  # noqa: F401, PLC0415  gives `input` its arrow keys

        say("/help tells what else can be typed; Ctrl-C ends an answer, Ctrl-D the talk")
    if talk.template is None:
        say(f"`{run}` has no chat template: it continues what it reads")
    while True:
        try:
            line = input("> " if is_typed else "").strip()
            if line.startswith("/"):
                say(talk.command(*line[1:].partition(" ")[::2]))
            elif line:
                for piece in talk.answer(line):
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        except EOFError:
            return
        except KeyboardInterrupt:
            if not is_typed:
                raise
            say("")  # it ended an answer, or a line
        except ValueError as error:
            if not is_typed:
                raise
            messages.report(error)  # a slip of the one who types ends nothing


class Talk:
    """A conversation, and the settings of the answers to come."""

    def __init__(self, loaded: LoadedRun, *, system: str, seed: int) -> None:
        from minillm.data import ChatTemplate  # noqa: PLC0415  imports torch

        self.loaded, self.system, self.seed = loaded, system, seed
        self.settings = loaded.config.sample
        self.turns: list[dict[str, str]] = []
        source = loaded.chat_template
        self.template = None if source is None else ChatTemplate(source, loaded.tokenizer)

    def change(self, settings: dict[str, object]) -> None:
        """Changes settings.

        Raises:
            UsageError: If one is out of its bounds.
        """
        self.settings = check_settings({**self.settings.model_dump(), **settings})

    def command(self, name: str, value: str) -> str:
        """Does what `/name value` asks for, and tells what came of it.

        Raises:
            ValueError: If there is no such command, or the value is no good.
            EOFError: If it ends the talk.
        """
        from minillm.config.files import parse_yaml  # noqa: PLC0415
        from minillm.config.messages import did_you_mean  # noqa: PLC0415
        from minillm.model.lora import adapter_names, use_adapter  # noqa: PLC0415

        settings = {**self.settings.model_dump(exclude={"prompts", "logit_bias"})}
        known = ["help", "new", "system", "quit", "seed", "adapter", *settings]
        if name == "quit":
            raise EOFError
        if name == "help":
            shown = "".join(f"\n/{key} {now}" for key, now in settings.items())
            names = ", ".join(adapter_names(self.loaded.model)) or "there is none"
            begun = "/new, /system TEXT: begin anew\n/quit"
            return f"{begun}\n/adapter NAME: {names}\n/seed {self.seed}{shown}"
        if name in ("new", "system"):
            self.system, self.turns = value if name == "system" else self.system, []
            return "begun anew"
        if name == "adapter":
            use_adapter(self.loaded.model, value or None)
        elif name == "seed" and value.isdecimal():
            self.seed = int(value)
        elif name in settings:
            is_text = name == "stop"
            self.change({name: [value] * bool(value) if is_text else parse_yaml(value)})
        else:
            raise UsageError(f"unknown command `/{name} {value}`" + did_you_mean(name, known))
        return f"{name} is {value or 'none'}"

    def answer(self, line: str) -> Iterator[str]:
        """The model's turn after `line`, in pieces as they become certain; both are remembered.

        Raises:
            ValueError: If the line alone is more than the context holds.
        """
        from minillm.infer import prompt_ids, stream_texts  # noqa: PLC0415

        loaded, stop_ids, said = self.loaded, frozenset[int](), ""
        if self.template is None:
            ids = prompt_ids(loaded.tokenizer, line, bos_id=self.settings.bos_id)
        else:
            self.turns, ids = self._fitting(self.template, line)
            stop_ids = self.template.stop_ids
        seeds = [self.seed + len(self.turns)]
        try:
            for _, text in stream_texts(
                loaded.model, loaded.tokenizer, [ids], self.settings, seeds=seeds, stop_ids=stop_ids
            ):
                said += text
                yield text
            yield "\n"
        finally:  # Ctrl-C too: what was said was said
            if self.template is not None:
                self.turns.append({"role": "assistant", "content": said.strip() or "..."})

    def _fitting(self, template: ChatTemplate, line: str) -> tuple[list[dict[str, str]], list[int]]:
        """The turns and `line`, without the oldest where there are too many, and their ids."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        turns = [*self.turns, {"role": "user", "content": line}]
        room = self.loaded.config.model.context_length
        room -= min(self.settings.max_new_tokens, room // 2)
        while len(ids := template.prompt_ids([*first, *turns])) > room:
            if len(turns) == 1:
                raise ValueError(f"this turn has {len(ids)} tokens, there is room for {room}")
            turns = turns[2:]
        return turns, ids


if __name__ == "__main__":
    sys.exit(messages.run(app))
