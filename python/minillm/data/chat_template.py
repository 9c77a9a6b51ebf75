"""From a conversation to ids, and to which of them an assistant is to learn.

A chat template is jinja2 code that writes a conversation down as one text, with control tokens such
as `<|im_end|>` between the turns. Encoding that text would take a control token in a user's words
for the real thing. So contents go through the template in disguise: any control token in them is
replaced by its number, and a mark stands at each end, which also keeps characters of two contents,
or of a content and the template, from becoming a control token together. Marks are code points that
Unicode has set aside as no characters. Only what then is left of control tokens is the template's,
and becomes ids; the rest is undisguised and encoded as ordinary text. Where no control token is in
the contents, the ids are those of the whole text.

An assistant learns its own words and the control token after them, by which it will stop. Text is
cut where the assistant begins, as it is when the model is asked: a token across that place could
never be generated.
"""

import atexit
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from minillm.messages import with_hint
from minillm.tokenizer import TextEncoder

ROLES = ("system", "user", "assistant", "tool")

PLAIN = """\
{% for message in messages %}<|endoftext|>{{ message.role }}
{{ message.content }}{% endfor %}<|endoftext|>{% if add_generation_prompt %}assistant
{% endif %}"""
"""The template of a model that has none: the one control token that it knows begins each turn."""

Messages = Sequence[Mapping[str, Any]]


class Conversation(NamedTuple):
    """A conversation as tokens."""

    ids: list[int]
    learned: list[bool]
    """Which tokens an assistant is to predict."""


_START, _ASSISTANT, _END, _HIDDEN = "\ufdd0\ufdd1\ufdd2\ufdd3"
_SAMPLE = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


class ChatTemplate:
    """A template and the tokenizer whose control tokens it writes: all of its special tokens."""

    def __init__(self, source: str, tokenizer: TextEncoder) -> None:
        """Takes jinja2 code; it is first compiled when it is used."""
        self.source = source
        self.tokenizer = tokenizer
        self._specials: dict[str, int] = getattr(tokenizer, "special_tokens", {})
        self._names = list(self._specials)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Control tokens that end an assistant's turn."""
        ids, learned = self.encode(_SAMPLE)
        own = {token for token, is_own in zip(ids, learned, strict=True) if is_own}
        return frozenset(own.intersection(self._specials.values()))

    @cached_property
    def _lead(self) -> str:
        """What an assistant has to say before its words, a space in some templates."""
        asked = self._render(_SAMPLE[:1], add_generation_prompt=True)
        begun = self._render(_SAMPLE).partition(_ASSISTANT)[0]
        return begun.removeprefix(asked) if begun.startswith(asked) else ""

    def check(self) -> None:
        """Refuses a template by which an assistant could not begin or end its turn.

        Raises:
            ValueError: With what is wrong.
        """
        if self._lead.strip():
            error = ValueError(f"the chat template puts {self._lead!r} before an assistant's turn")
            raise with_hint(error, "let it do so for `add_generation_prompt`, too")
        if not self.stop_ids:
            error = ValueError("the chat template puts no control token behind an assistant's turn")
            known = ", ".join(self._names) or "none"
            raise with_hint(error, f"end it by a special token of the tokenizer, which has {known}")

    def prompt_ids(self, messages: Messages) -> list[int]:
        """A conversation that ends with the beginning of an assistant's turn; see `encode`."""
        return self._encode_marked(self._render(messages, add_generation_prompt=True), "").ids

    def encode(self, messages: Messages) -> Conversation:
        """Writes a conversation down in tokens.

        Raises:
            ValueError: If a message is no good or the template refuses the conversation.
        """
        return self._encode_marked(self._render(messages), self._lead)

    def _render(self, messages: Messages, *, add_generation_prompt: bool = False) -> str:
        """The conversation as text, its contents in disguise."""
        turns = [
            {"role": role, "content": self._disguised(role, content)}
            for role, content in check_messages(messages)
        ]
        asked = {"messages": turns, "add_generation_prompt": add_generation_prompt}
        return _RENDERER.render(self.source, asked)

    def _disguised(self, role: str, content: str) -> str:
        """Control tokens hidden and the ends marked, inside of white space that may be trimmed."""
        core = content.strip()
        before, _, after = content.partition(core)
        if self._names:
            core = re.sub(
                _one_of(self._names),
                lambda found: f"{_HIDDEN}{self._names.index(found[0])}{_HIDDEN}",
                core,
            )
        return f"{before}{_ASSISTANT if role == 'assistant' else _START}{core}{_END}{after}"

    def _encode_marked(self, text: str, lead: str) -> Conversation:
        ids: list[int] = []
        learned: list[bool] = []
        plain, speaks, ended = "", False, False

        def flush(token: int | None = None) -> None:
            nonlocal plain
            hidden = f"{_HIDDEN}(\\d+){_HIDDEN}"
            shown = re.sub(hidden, lambda found: self._names[int(found[1])], plain)
            new = self.tokenizer.encode_ordinary(shown) + ([] if token is None else [token])
            ids.extend(new)
            learned.extend([speaks] * len(new))
            plain = ""

        for piece in re.split(_one_of([_START, _ASSISTANT, _END, *self._names]), text):
            if piece in self._specials:
                flush(self._specials[piece])
                speaks = speaks and not ended
            elif piece == _ASSISTANT:
                own = lead if plain.endswith(lead) else ""
                plain = plain.removesuffix(own)
                flush()
                plain, speaks, ended = own, True, False
            elif piece == _END:
                ended = speaks
            elif piece != _START:
                if ended and piece.strip():  # the template goes on without a control token
                    flush()
                    speaks = ended = False
                plain += piece
        flush()
        return Conversation(ids, learned)


def check_messages(messages: object) -> list[tuple[str, str]]:
    """Role and text of each turn.

    Raises:
        ValueError: Naming the message and what is wrong with it.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError(f"`messages` is {messages!r}, expected a list of turns")
    turns: list[tuple[str, str]] = []
    for index, message in enumerate(messages):
        name = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise ValueError(f"{name} is {message!r}, expected a role and a content")
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise ValueError(f"{name}.role is {role!r}, expected one of {', '.join(ROLES)}")
        if isinstance(content, list) and all(isinstance(part, dict) for part in content):
            content = "".join(str(part.get("text", "")) for part in content)
        if not isinstance(content, str) or not content.strip():
            raise ValueError(f"{name}.content is {content!r}, expected text")
        if odd := set(content) & {_START, _ASSISTANT, _END, _HIDDEN}:
            raise ValueError(f"{name}.content holds {min(odd)!r}, which is no character")
        if role == "assistant" and all(role == "system" for role, _ in turns):
            raise ValueError(f"{name} is an assistant's, expected a user's before it")
        turns.append((role, content))
    return turns


def _one_of(texts: Sequence[str]) -> str:
    """A regex of any of the texts, the longest first."""
    return f"({'|'.join(map(re.escape, sorted(texts, key=len, reverse=True)))})"


class _Renderer:
    """The process that renders: started at the first request, and anew when it has been killed."""

    process: subprocess.Popen[str] | None = None

    def render(self, source: str, variables: Mapping[str, Any]) -> str:
        """The rendered text.

        Raises:
            ValueError: With the template's complaint, or what it took too much of.
        """
        if self.process is None:
            file = Path(__file__).with_name("template_process.py")
            self.process = subprocess.Popen(  # noqa: S603  our own file
                [sys.executable, "-P", str(file)],  # by its path: the package would bring torch in
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        questions = cast("IO[str]", self.process.stdin)
        answers = cast("IO[str]", self.process.stdout)
        try:
            questions.write(json.dumps({"source": source, "variables": variables}) + "\n")
            questions.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:  # Ctrl-C between question and answer: the next one must not get it
            self.stop()
            raise
        if not line:
            self.stop()
            raise ValueError("the chat template was stopped: it takes more than a second")
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            raise ValueError(f"the chat template fails: {answer['error']}")
        return answer["text"]

    def stop(self) -> None:
        """Ends the process."""
        if self.process is not None:
            with self.process:  # closes the pipes, waits
                self.process.kill()
            self.process = None


_RENDERER = _Renderer()
atexit.register(_RENDERER.stop)
