"""From a conversation to ids, and to which of them an assistant is to learn.

A chat template is jinja2 code that writes a conversation down as one text, with control tokens such
as `<|im_end|>` between the turns. Encoding that text would take a control token in a user's words
for the real thing, and would not tell whose words are whose. So contents go through the template in
disguise: a control token in them is replaced by its number, and marks with the message's number
stand around them, which also keeps characters of two contents, or of a content and the template,
from becoming a control token together. Marks are code points that Unicode has set aside as no
characters. What then is left of control tokens is the template's, and becomes ids; the rest is
undisguised and encoded as ordinary text. Many templates read an assistant's `<think>` and
`</think>`, keep the last thoughts and drop older ones: these tags stay as they are, outside of the
marks, and are control tokens where the tokenizer has them.

An assistant learns what it has to say itself: from where the text departs from what the model is
asked (the turns before, with a generation prompt) to the control token after its words, by which it
will stop. Text is cut where that begins, as it is when the model is asked: a token across that
place could never be generated.

A template may do with contents what it likes. What is to be learned is therefore rendered without a
disguise as well: both must be one text, and each assistant's turn must show its marks in pairs.
"""

import atexit
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import compress, pairwise, takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from minillm.messages import with_hint
from minillm.tokenizer import TextEncoder

_KEYS = ("role", "content", "weight")
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


# A mark is one of these, the digits of a number, and an end, all of them no characters.
_BEGIN, _END, _HIDDEN = "\ufdd0\ufdd1\ufdd2"
_EDGE = re.compile("[\ufdd0\ufdd1][\ufde0-\ufde9]+\ufddf")
_MARK = re.compile("[\ufdd0-\ufdd2][\ufde0-\ufde9]+\ufddf")
_TAG = r"</?(?:\w+:)?think>|\[/?THINK\]"

_SAMPLE = 2 * ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


class ChatTemplate:
    """A template and the tokenizer whose control tokens it writes: all of its special tokens."""

    def __init__(self, source: str, tokenizer: TextEncoder) -> None:
        """Takes jinja2 code; it is first compiled when it is used."""
        self.source = source
        self.tokenizer = tokenizer
        self._specials: dict[str, int] = getattr(tokenizer, "special_tokens", {})
        self._hidden = {name: _mark(_HIDDEN, token) for name, token in self._specials.items()}
        self._names = {mark: name for name, mark in self._hidden.items()}
        longest_first = sorted(self._specials, key=len, reverse=True)
        self._control = "|".join(map(re.escape, longest_first)) or "(?!)"

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Control tokens that end an assistant's turn."""
        ids, learned = self._encode(check_messages(_SAMPLE), is_asked=False)
        ends = [own and not goes_on for own, goes_on in pairwise([*learned, False])]
        return frozenset(compress(ids, ends)).intersection(self._specials.values())

    def check(self) -> None:
        """Refuses a template by which an assistant could not end its turn.

        Raises:
            ValueError: With what is wrong.
        """
        if not self.stop_ids:
            error = ValueError("the chat template puts no control token behind an assistant's turn")
            known = ", ".join(self._specials) or "none"
            raise with_hint(error, f"end it by a special token of the tokenizer, which has {known}")

    def prompt_ids(self, messages: Messages) -> list[int]:
        """A conversation that ends with the beginning of an assistant's turn; see `encode`."""
        return self._encode(check_messages(messages), is_asked=True).ids

    def encode(self, messages: Messages) -> Conversation:
        """Writes a conversation down in tokens.

        Raises:
            ValueError: If a message is no good, the template refuses the conversation, or it does
                with a content what leaves unknown whose words are whose.
        """
        ids, learned = self._encode(check_messages(messages), is_asked=False)
        if learned[-1:] == [True] and ids[-1] not in self._specials.values() and self.stop_ids:
            # Some templates end a turn by the beginning of the next alone: the last one ends, too.
            return Conversation([*ids, min(self.stop_ids)], [*learned, True])
        return Conversation(ids, learned)

    def _encode(self, turns: Messages, *, is_asked: bool) -> Conversation:
        own = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
        marked = [{**turn, "content": self._disguised(i, turn)} for i, turn in enumerate(turns)]
        asked = [(turns, is_asked), (marked, is_asked), *((marked[:i], True) for i in own)]
        expected, text, *questions = _RENDERER.render(
            self.source,
            [{"messages": shown, "add_generation_prompt": is_it} for shown, is_it in asked],
        )
        if not is_asked and self._shown(text) != expected:
            raise ValueError("the chat template looks into contents: whose words are whose is lost")
        cuts = [(0, False)]
        for index, question in zip(own, questions, strict=True):
            span = self._span(text, index, question)
            if span is not None and span[0] >= cuts[-1][0]:
                cuts += [(span[0], False), (span[1], turns[index]["weight"] == 1)]
            elif not is_asked:
                raise ValueError(f"the chat template cuts or repeats messages[{index}].content")
        ids: list[int] = []
        learned: list[bool] = []
        for (start, _), (end, is_learned) in pairwise([*cuts, (len(text), False)]):
            new = self._ids(text[start:end])
            ids += new
            learned += [is_learned] * len(new)
        return Conversation(ids, learned)

    def _disguised(self, index: int, turn: Mapping[str, Any]) -> str:
        """Control tokens hidden and the ends marked, inside of white space that may be trimmed."""
        content: str = turn["content"]
        before, core, after = content.partition(content.strip())
        pieces = re.split(rf"(\s*(?:{_TAG})\s*)", core) if turn["role"] == "assistant" else [core]
        for place in range(0, len(pieces), 2):  # what is between the tags
            hidden = re.sub(self._control, lambda found: self._hidden[found[0]], pieces[place])
            pieces[place] = _mark(_BEGIN, index) + hidden + _mark(_END, index)
        return before + "".join(pieces) + after

    def _shown(self, text: str) -> str:
        return _MARK.sub(lambda found: self._names.get(found[0], ""), text)

    def _span(self, text: str, index: int, question: str) -> tuple[int, int] | None:
        """Where a turn of an assistant begins and ends; nothing if its marks do not stand in pairs.

        Args:
            text: The conversation in disguise.
            index: The turn's.
            question: The turns before it and a generation prompt, in disguise.
        """
        begin, end = _mark(_BEGIN, index), _mark(_END, index)
        inside = f"[^{_BEGIN}{_END}]*"
        turn = f"{begin}{inside}{end}"
        own = re.search(f"{turn}({inside}{turn})*", text)
        if own is None or any(own[0].count(mark) < text.count(mark) for mark in (begin, end)):
            return None
        head, asked = (
            re.findall(f"{self._control}|{_TAG}|.", _EDGE.split(part)[-1], re.DOTALL)
            for part in (text[: own.start()], question)
        )
        same = takewhile(lambda pair: pair[0] == pair[1], zip(head, asked, strict=False))
        common = "".join(piece for piece, _ in same)
        if common != "".join(asked):  # asked not to think, it thinks: all of this is its own
            common = re.split(_TAG, common)[0]
        first = own.start() - len("".join(head)) + len(common)
        stop = re.compile(rf"\s*(?:{self._control})").match(text, own.end())
        return first, stop.end() if stop else own.end()

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in re.split(f"({self._control})", text):
            token = self._specials.get(piece)
            ids += self.tokenizer.encode_ordinary(self._shown(piece)) if token is None else [token]
        return ids


def check_messages(messages: object) -> list[dict[str, Any]]:
    """The role, content and weight of each turn.

    Raises:
        ValueError: Naming the message and what is wrong with it.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError(f"`messages` is {messages!r}, expected a list of turns")
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        name = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise ValueError(f"{name} is {message!r}, expected a role and a content")
        if odd := [key for key in message if message[key] and key not in _KEYS]:
            raise ValueError(f"{name} has `{odd[0]}`, expected only {', '.join(_KEYS)}")
        role, content, weight = (message.get(key) for key in _KEYS)
        role = "system" if role == "developer" else role
        if role not in ROLES:
            raise ValueError(f"{name}.role is {role!r}, expected one of {', '.join(ROLES)}")
        if isinstance(content, list) and all(type(it) is dict and "text" in it for it in content):
            content = "".join(str(part["text"] or "") for part in content)
        if not isinstance(content, str) or not content.strip():
            raise ValueError(f"{name}.content is {content!r}, expected text")
        if found := re.search("[\ufdd0-\ufdef]", content):
            raise ValueError(f"{name}.content holds {found[0]!r}, which is no character")
        if weight not in (None, 0, 1):
            raise ValueError(f"{name}.weight is {weight!r}, expected 0 or 1")
        if role == "assistant" and all(turn["role"] == "system" for turn in turns):
            raise ValueError(f"{name} is an assistant's, expected a user's before it")
        turns.append({"role": role, "content": content, "weight": 1 if weight is None else weight})
    return turns


def _mark(kind: str, number: int) -> str:
    return kind + "".join(chr(0xFDE0 + int(digit)) for digit in str(number)) + "\ufddf"


class _Renderer:
    """The process that renders: started at the first request, and anew when it has been killed."""

    process: subprocess.Popen[str] | None = None

    def render(self, source: str, variables: Sequence[Mapping[str, Any]]) -> list[str]:
        """The text for each set of variables.

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
                encoding="utf-8",
            )
        pipes = (self.process.stdin, self.process.stdout)
        questions, answers = cast("tuple[IO[str], IO[str]]", pipes)
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
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ValueError(f"the chat template fails: {answer['error']}")
        return list(answer["texts"])

    def stop(self) -> None:
        """Ends the process."""
        if self.process is not None:
            with self.process:  # closes the pipes, waits
                self.process.kill()
            self.process = None


_RENDERER = _Renderer()
atexit.register(_RENDERER.stop)
