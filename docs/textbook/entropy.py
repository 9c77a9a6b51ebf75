"""The entropy of a grammar's texts, from its rules alone: the floor under every model of them.

Why it is exact: if no two derivations give the same text, the entropy of the texts is the entropy
of the derivations. That is a sum over the choices: a rule contributes the entropy of its weights
each time that it is expanded, a cast member once in each document that mentions it. Both
expectations follow from the rules by linearity, with no sampling, and so does the expected length,
because what is mentioned never depends on who was drawn. Their ratio is the fewest bits per byte
that any model of the documents can reach, end of text included: the probability of a derivation
*is* the probability of its bytes and of stopping there.

That no two derivations give the same text is a property of the rules at hand. It holds when the
alternatives of each choice are prefix-free, which the tests prove for the built-in stories.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from minillm.data.grammar import CastMember, Choice, Grammar, Weights


@dataclass(frozen=True)
class Entropy:
    """Expectations over the documents of a grammar."""

    bits: float
    bytes: float

    @property
    def bits_per_byte(self) -> float:
        """The floor that no model's bits per byte gets below, except by chance on few documents."""
        return self.bits / self.bytes


def grammar_entropy(grammar: Grammar) -> Entropy:
    """Expected bits and bytes of a document."""
    expected = expectation(grammar.document)
    cast_bits = math.fsum(
        chance * weights_entropy(member.weights)
        for members, chance in expected.mentioned.items()
        for member in members
    )
    return Entropy(expected.bits + cast_bits, expected.bytes)


@dataclass(frozen=True)
class Expectation:
    """What expanding a choice adds on average, without the choice of its cast.

    `mentioned` is the chance of each set of cast members to be the set that it mentions.
    """

    bits: float
    bytes: float
    mentioned: Mapping[frozenset[CastMember], float]


@cache
def expectation(choice: Choice) -> Expectation:
    """The mean over the alternatives of what their parts add."""
    bits, length = weights_entropy(choice.weights), 0.0
    mentioned: dict[frozenset[CastMember], float] = {}
    for chance, parts in zip(choice.weights.chances, choice.alternatives, strict=True):
        sets: Mapping[frozenset[CastMember], float] = {frozenset(): chance}
        for part in parts:
            if isinstance(part, str):
                length += chance * len(part.encode())
            elif isinstance(part, Choice):
                expected = expectation(part)
                bits += chance * expected.bits
                length += chance * expected.bytes
                sets = unions(sets, expected.mentioned)
            else:
                weights, alternatives = part.member.weights, part.member.alternatives
                lengths = (len(part.of(alternative).encode()) for alternative in alternatives)
                length += chance * sum(map(float.__mul__, weights.chances, map(float, lengths)))
                sets = unions(sets, {frozenset([part.member]): 1.0})
        for members, chance_of_set in sets.items():
            mentioned[members] = mentioned.get(members, 0.0) + chance_of_set
    return Expectation(bits, length, mentioned)


def unions(
    left: Mapping[frozenset[CastMember], float], right: Mapping[frozenset[CastMember], float]
) -> dict[frozenset[CastMember], float]:
    """Distribution of the union of two independent random sets."""
    result: dict[frozenset[CastMember], float] = {}
    for a, chance_a in left.items():
        for b, chance_b in right.items():
            result[a | b] = result.get(a | b, 0.0) + chance_a * chance_b
    return result


def weights_entropy(weights: Weights) -> float:
    """Entropy of one draw, in bits."""
    return math.fsum(-chance * math.log2(chance) for chance in weights.chances)
