"""A weighted grammar of texts whose entropy is known exactly.

A grammar is a list of *rules*. A rule is a list of alternatives: texts with integer weights. In a
text, `{name}` expands the rule `name` and `[a|b|c]` picks one of the texts with equal chance. A
rule can only use rules above it, so that every derivation ends; the last rule is a whole document.
A member of the *cast* is drawn once per document, where it is first mentioned, and is the same ever
after; it may have several forms (`{hero}`, `{hero.his}`), and a form asked for with a capital
comes with one (`{hero.His}`).

What is mentioned never depends on who was drawn, which is one of two reasons why the entropy can be
computed from the rules; `docs/textbook/entropy.py` has the other one, and does it.
"""

import math
import random
import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

_PARTS = re.compile(r"\{(?P<reference>[^{}]*)\}|\[(?P<options>[^\[\]]*)\]|(?P<literal>[^{}\[\]]+)")


@dataclass(frozen=True)
class Document:
    """One text, and its code length: -log2 of the probability of drawing it."""

    text: str
    bits: float


class Weights:
    """A distribution over `n` alternatives, given as integers."""

    def __init__(self, weights: Sequence[int]) -> None:
        *_, total = self._cumulative = list(accumulate(weights))
        self.chances = [weight / total for weight in weights]

    def draw(self, rng: random.Random) -> int:
        """Index of an alternative; uses only `rng.random()`, whose sequence Python keeps."""
        return bisect(self._cumulative, int(rng.random() * self._cumulative[-1]))


@dataclass(frozen=True, eq=False)
class CastMember:
    """What is drawn once per document: each alternative is a text per form."""

    weights: Weights
    alternatives: Sequence[Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class Mention:
    """A cast member's place in a text, in one of its forms."""

    member: CastMember
    form: str

    def of(self, alternative: Mapping[str, str]) -> str:
        """The words that stand here when `alternative` was drawn."""
        if self.form in alternative:
            return alternative[self.form]
        words = alternative[self.form.lower()]
        return words[:1].upper() + words[1:]


@dataclass(frozen=True, eq=False)
class Choice:
    """What is drawn anew in each place: each alternative is a sequence of parts."""

    weights: Weights
    alternatives: Sequence[Sequence["Part"]]


Part = str | Mention | Choice


class Grammar:
    """Parses a cast and rules.

    Args:
        cast: Name to lines: first the names of the forms, `"name/his"`, then the alternatives,
            `"WEIGHT Tom/his"`. `{name}` alone stands for the first form.
        rules: Name to alternatives, `"WEIGHT text"`. The last rule is a document.

    Raises:
        ValueError: If a line has no weight, a member lacks a form, or a text names what is not
            defined above it. The message names the rule and the text.
    """

    def __init__(
        self, *, cast: Mapping[str, Sequence[str]], rules: Mapping[str, Sequence[str]]
    ) -> None:
        self._cast: dict[str, CastMember] = {}
        self._rules: dict[str, Choice] = {}
        for name, (forms, *lines) in cast.items():
            self._cast[name] = _parse_cast_member(name, forms.split("/"), lines)
        for name, alternatives in rules.items():
            weights, texts = _split_weights(name, alternatives)
            parts = [self._parse_text(name, text) for text in texts]
            self.document = self._rules[name] = Choice(weights, parts)

    def sample(self, rng: random.Random) -> Document:
        """Draws a document."""
        drawn: dict[CastMember, Mapping[str, str]] = {}
        bits = 0.0
        pieces: list[str] = []
        stack: list[Part] = [self.document]
        while stack:
            part = stack.pop()
            if isinstance(part, str):
                pieces.append(part)
            elif isinstance(part, Choice):
                index = part.weights.draw(rng)
                bits -= math.log2(part.weights.chances[index])
                stack.extend(reversed(part.alternatives[index]))
            else:
                member = part.member
                if member not in drawn:
                    index = member.weights.draw(rng)
                    bits -= math.log2(member.weights.chances[index])
                    drawn[member] = member.alternatives[index]
                pieces.append(part.of(drawn[member]))
        return Document("".join(pieces), bits)

    def _parse_text(self, rule: str, text: str) -> list[Part]:
        """Splits a text into its parts, with names looked up."""
        parts: list[Part] = []
        end = 0
        for match in _PARTS.finditer(text):
            if match.start() != end:
                break
            end = match.end()
            if (reference := match["reference"]) is not None:
                parts.append(self._look_up(rule, reference))
            elif (options := match["options"]) is not None:
                texts = [self._parse_text(rule, option) for option in options.split("|")]
                parts.append(Choice(Weights([1] * len(texts)), texts))
            else:
                parts.append(match["literal"])
        if end != len(text):
            raise ValueError(f"rule `{rule}`: unbalanced bracket in `{text}`")
        return parts

    def _look_up(self, rule: str, reference: str) -> Mention | Choice:
        name, _, form = reference.partition(".")
        if name in self._cast:
            known = list(self._cast[name].alternatives[0])
            if form.lower() in ["", *known]:
                return Mention(self._cast[name], form or known[0])
        elif name in self._rules and not form:
            return self._rules[name]
        raise ValueError(f"rule `{rule}`: `{{{reference}}}` is not defined above it")


def _split_weights(name: str, lines: Sequence[str]) -> tuple[Weights, list[str]]:
    weights, texts = [], []
    for line in lines:
        weight, _, text = line.partition(" ")
        if not weight.isdecimal() or int(weight) == 0:
            raise ValueError(f"rule `{name}`: `{line}` must start with a weight of 1 or more")
        weights.append(int(weight))
        texts.append(text)
    return Weights(weights), texts


def _parse_cast_member(name: str, forms: Sequence[str], lines: Sequence[str]) -> CastMember:
    weights, texts = _split_weights(name, lines)
    alternatives = []
    for text in texts:
        words = text.split("/")
        if len(words) != len(forms):
            raise ValueError(f"cast `{name}`: `{text}` must have the forms {'/'.join(forms)}")
        alternatives.append(dict(zip(forms, words, strict=True)))
    return CastMember(weights, alternatives)
