from collections import Counter
from math import log2

import pytest

from minillm.data.grammar import Grammar
from textbook.entropy import grammar_entropy

SMALL = Grammar(
    cast={
        "who": ["name/his", "3 Tom/his", "1 Ann/her", "2 Zo/her"],
        "pet": ["kind", "1 cat", "1 ox"],
    },
    rules={
        "mood": ["1 [sad|glad|so-so]"],
        "tale": [
            "4 {who} felt {mood}.",
            "2 {who} lost {who.his} {pet}. {who.His} {pet} felt {mood} and {mood}.",
            "1 The end.",
        ],
    },
)


def all_texts(grammar):
    """Each derivation's text with its probability, by brute force."""
    results = []

    def expand(stack, drawn, text, chance):
        if not stack:
            results.append((text, chance))
            return
        part, *rest = stack
        if isinstance(part, str):
            expand(rest, drawn, text + part, chance)
        elif hasattr(part, "member") and part.member in drawn:
            expand(rest, drawn, text + part.of(drawn[part.member]), chance)
        elif hasattr(part, "member"):
            member = part.member
            for p, words in zip(member.weights.chances, member.alternatives, strict=True):
                expand(rest, {**drawn, member: words}, text + part.of(words), chance * p)
        else:
            for p, parts in zip(part.weights.chances, part.alternatives, strict=True):
                expand([*parts, *rest], drawn, text, chance * p)

    expand([grammar.document], {}, "", 1.0)
    return results


def test_entropy_equals_that_of_all_texts_enumerated():
    texts = all_texts(SMALL)
    assert len({text for text, _ in texts}) == len(texts) == 3 * 3 + 3 * 2 * 9 + 1
    entropy = grammar_entropy(SMALL)
    assert entropy.bits == pytest.approx(sum(-p * log2(p) for _, p in texts), rel=1e-12)
    assert entropy.bytes == pytest.approx(sum(p * len(text) for text, p in texts), rel=1e-12)


def test_code_length_of_a_sample_is_minus_log2_of_its_probability(rng):
    chances = dict(all_texts(SMALL))
    for _ in range(200):
        document = SMALL.sample(rng)
        assert document.bits == pytest.approx(-log2(chances[document.text]), rel=1e-12)


def test_samples_are_drawn_with_their_probability(rng):
    chances = dict(all_texts(SMALL))
    n = 20_000
    counts = Counter(SMALL.sample(rng).text for _ in range(n))
    # Five standard deviations of a binomial count: wrong about once in a million texts.
    for text, p in chances.items():
        assert abs(counts[text] - n * p) <= 5 * (n * p * (1 - p)) ** 0.5 + 1


def test_bytes_are_counted_in_utf8():
    grammar = Grammar(
        cast={"who": ["name", "1 Zo\u00eb", "1 Al"]}, rules={"tale": ["1 {who}\u2026"]}
    )
    assert grammar_entropy(grammar).bytes == (4 + 2) / 2 + 3


def test_cast_that_may_stay_unmentioned_counts_only_where_it_is():
    cast = {"who": ["name", "1 Tom", "1 Ann"]}
    grammar = Grammar(cast=cast, rules={"tale": ["1 {who} and {who}", "3 nobody"]})
    half = 0.25 * 2 + 0.75 * log2(4 / 3)
    assert grammar_entropy(grammar).bits == pytest.approx(half + 0.25 * 1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("cast", "rules", "message"),
    [
        ({}, {"tale": ["once"]}, "rule `tale`: `once` must start with a weight of 1 or more"),
        ({}, {"tale": ["0 once"]}, "rule `tale`: `0 once` must start with a weight of 1 or more"),
        ({}, {"tale": ["1 {mood}"]}, "rule `tale`: `{mood}` is not defined above it"),
        ({}, {"tale": ["1 {tale}"]}, "rule `tale`: `{tale}` is not defined above it"),
        ({"who": ["name", "1 Tom"]}, {"tale": ["1 {who.his}"]}, "`{who.his}` is not defined"),
        ({"who": ["name/his", "1 Tom"]}, {"tale": ["1 a"]}, "`Tom` must have the forms name/his"),
        ({}, {"tale": ["1 [a|b"]}, r"rule `tale`: unbalanced bracket in `[a|b`"),
    ],
)
def test_mistake_in_a_rule_is_named(cast, rules, message):
    with pytest.raises(ValueError) as error:
        Grammar(cast=cast, rules=rules)
    assert message in str(error.value)
