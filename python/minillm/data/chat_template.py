"""From a conversation to ids, and to which of them an assistant is to learn.

A chat template is jinja2 code that writes a conversation down as one text, with control tokens such
as `<|im_end|>` between the turns. Encoding that text would take a control token in a user's words
for the real thing. So contents go through the template in disguise: any control token in them is
replaced by one private character, and a mark stands at each end, which also keeps characters of two
contents, or of a content and the template, from becoming a control token together. Only what then
is left of control tokens is the template's, and becomes ids; the rest is undisguised and encoded as
ordinary text. Where no control token is in the contents, the ids are those of the whole text.

An assistant learns its own words and the control token after them, or whatever stands in the
template's `{% generation %}` blocks, if it has any. Text is cut where the assistant begins, as it
is when the model is asked: a token across that place could never be generated.
"""

import atexit
import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from minillm.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")

CHATML = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""The template of a model that has none: OpenAI's ChatML."""

PROCESS = Path(__file__).with_name("template_process.py")

MOST_WAIT_S = 30.0
"""Only for a process that does not answer at all; its own bound is in seconds of its own."""


class Conversation(NamedTuple):
    """A conversation as tokens."""

    ids: list[int]
    learned: list[bool]
    """Which tokens an assistant is to predict."""


class _Marks(NamedTuple):
    """Private characters that occur in no content."""

    start: str
    end: str
    assistant: str
    disguises: dict[str, str]


class ChatTemplate:
    """A template and the tokenizer whose control tokens it writes."""

    def __init__(
        self, source: str, tokenizer: Tokenizer, *, variables: Mapping[str, Any] | None = None
    ) -> None:
        """Takes a template; it is first compiled when it is used.

        Args:
            source: The jinja2 code.
            tokenizer: All of its special tokens are control tokens.
            variables: What the template refers to beside the messages: `bos_token`, say.
        """
        self.source = source
        self.tokenizer = tokenizer
        self.variables = dict(variables or {})
        self._specials = tokenizer.special_tokens
        self._has_generation = re.search(r"\{%-?\s*generation\b", source) is not None

    def encode(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
    ) -> Conversation:
        """Writes a conversation down in tokens.

        Args:
            messages: `role` and `content` of each turn; content is text, or a list of its parts.
            add_generation_prompt: Ends with the beginning of an assistant's turn.

        Raises:
            ValueError: If a message is no good or the template refuses the conversation.
        """
        turns = [_turn(index, message) for index, message in enumerate(messages)]
        marks = self._marks([content for _, content in turns])
        disguised = [
            {"role": role, "content": self._disguise(role, content, marks)}
            for role, content in turns
        ]
        variables = {
            **self.variables,
            "messages": disguised,
            "add_generation_prompt": add_generation_prompt,
        }
        generation = [marks.assistant, marks.end] if self._has_generation else ["", ""]
        text = _renderer().render(self.source, generation, variables)
        return self._encode_marked(text, marks)

    def _marks(self, contents: Sequence[str]) -> _Marks:
        count = 3 + len(self._specials)
        used = set().union(*contents)
        free = (chr(code) for code in range(0xF0000, 0x10FFFE) if chr(code) not in used)
        start, end, assistant, *rest = (next(free) for _ in range(count))
        longest_first = sorted(self._specials, key=len, reverse=True)
        return _Marks(start, end, assistant, dict(zip(longest_first, rest, strict=True)))

    def _disguise(self, role: str, content: str, marks: _Marks) -> str:
        """Control tokens hidden and the ends marked, inside of white space that may be trimmed."""
        core = content.strip()
        before, _, after = content.partition(core) if core else (content, "", "")
        if marks.disguises:
            hidden = re.compile("|".join(map(re.escape, marks.disguises)))
            core = hidden.sub(lambda found: marks.disguises[found[0]], core)
        speaks = role == "assistant" and not self._has_generation
        return f"{before}{marks.assistant if speaks else marks.start}{core}{marks.end}{after}"

    def _encode_marked(self, text: str, marks: _Marks) -> Conversation:
        ids: list[int] = []
        learned: list[bool] = []
        plain, speaks, ended = "", False, False
        genuine = {disguise: token for token, disguise in marks.disguises.items()}

        def flush() -> None:
            nonlocal plain
            revealed = "".join(genuine.get(character, character) for character in plain)
            new = self.tokenizer.encode_ordinary(revealed)
            ids.extend(new)
            learned.extend([speaks] * len(new))
            plain = ""

        for kind, piece in _pieces(text, self._specials, marks):
            if kind == "special":
                flush()
                ids.append(self._specials[piece])
                learned.append(speaks)
                speaks = speaks and not ended
            elif kind == "assistant":
                flush()
                speaks, ended = True, False
            elif kind == "end":
                ended = speaks
            elif kind == "start":
                continue
            elif ended and piece.strip():  # the template goes on without a control token
                flush()
                speaks = ended = False
                plain = piece
            else:
                plain += piece
        flush()
        return Conversation(ids, learned)


def _pieces(text: str, specials: Mapping[str, int], marks: _Marks) -> Iterator[tuple[str, str]]:
    names = {marks.start: "start", marks.end: "end", marks.assistant: "assistant"}
    longest_first = sorted([*names, *specials], key=len, reverse=True)
    for piece in re.split(f"({'|'.join(map(re.escape, longest_first))})", text):
        if piece:
            yield names.get(piece, "special" if piece in specials else "text"), piece


def _turn(index: int, message: Mapping[str, Any]) -> tuple[str, str]:
    """Role and content of a message.

    Raises:
        ValueError: Naming the message and what is wrong with it.
    """
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise ValueError(f"messages[{index}].role is {role!r}, expected one of {', '.join(ROLES)}")
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise ValueError(f"messages[{index}].content is {content!r}, expected text")
    if message.get("tool_calls"):
        raise ValueError(f"messages[{index}] has tool_calls, which no template here writes")
    return role, content


class _Renderer:
    """The process that renders; it is started at the first request, and anew after a failure."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def render(self, source: str, marks: list[str], variables: Mapping[str, Any]) -> str:
        """The rendered text.

        Raises:
            ValueError: With the template's complaint, or what it took too much of.
        """
        process = self._process or self._start()
        request = {"source": source, "marks": marks, "variables": variables}
        try:
            questions, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
            questions.write(json.dumps(request) + "\n")
            questions.flush()
            is_ready, _, _ = select.select([answers], [], [], MOST_WAIT_S)
            line = answers.readline() if is_ready else ""
        except BrokenPipeError:
            line = ""
        except BaseException:  # Ctrl-C between question and answer: the next one must not get it
            self.stop()
            raise
        if not line:
            self.stop()
            raise ValueError("the chat template was stopped: it takes too much time or memory")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(f"the chat template fails: {answer['error']}")
        text: str = answer["text"]
        return text

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(  # noqa: S603  our own file
            [sys.executable, "-P", str(PROCESS)],  # by its path: the package would bring torch in
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        return self._process

    def stop(self) -> None:
        """Kills the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


_RENDERERS: list[_Renderer] = []


def _renderer() -> _Renderer:
    if not _RENDERERS:
        _RENDERERS.append(_Renderer())
        atexit.register(_RENDERERS[0].stop)
    return _RENDERERS[0]
