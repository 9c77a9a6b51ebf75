import hashlib
import re
from itertools import combinations

import pytest

from minillm.data.grammar import Choice, Grammar, Mention
from minillm.data.local_text import write_documents
from minillm.data.stories import FLOOR_BITS_PER_BYTE, STORIES, story_documents
from textbook.entropy import grammar_entropy


def clash(left, right, seen):
    """A text of `left` that is a prefix of one of `right`, or the reverse; None if there is none.

    Both are tuples of parts. The cast is taken to be drawn anew at each mention, which allows more
    texts than there are: what is prefix-free here is prefix-free.
    """
    if (left, right) in seen:
        return None
    seen.add((left, right))
    for a, b in ((left, right), (right, left)):
        if a and not isinstance(a[0], str):
            for option in options(a[0]):
                if (found := clash((*option, *a[1:]), b, seen)) is not None:
                    return found
            return None
    if not left or not right:
        return (left, right)
    n = min(len(left[0]), len(right[0]))
    if left[0][:n] != right[0][:n]:
        return None
    return clash(drop(left, n), drop(right, n), seen)


def options(part):
    if isinstance(part, Choice):
        return [tuple(option) for option in part.alternatives]
    return [(part.of(option),) for option in part.member.alternatives]


def drop(parts, n):
    return parts[1:] if len(parts[0]) == n else (parts[0][n:], *parts[1:])


def choices_below(part, found):
    if isinstance(part, Choice) and part not in found:
        found.append(part)
        for alternative in part.alternatives:
            for inner in alternative:
                choices_below(inner, found)
    return found


def test_alternatives_of_each_choice_are_prefix_free():
    for choice in choices_below(STORIES.document, []):
        for a, b in combinations(choice.alternatives, 2):
            assert clash(tuple(a), tuple(b), set()) is None, (a, b)


def test_prefix_check_finds_a_clash():
    rules = {"noun": ["1 [key|keyhole]"], "tale": ["1 a {noun}", "1 a keyhole cover"]}
    grammar = Grammar(cast={}, rules=rules)
    noun = choices_below(grammar.document, [])[2]
    assert clash(*map(tuple, noun.alternatives), set()) is not None
    assert clash(*map(tuple, grammar.document.alternatives), set()) is not None


def first_mentions(part, known, first):
    """Cast surely mentioned after `part`; adds (member, form) of possible first mentions."""
    if isinstance(part, Mention):
        if part.member not in known:
            first.add((part.member, part.form))
        return known | {part.member}
    if isinstance(part, Choice):
        ends = []
        for alternative in part.alternatives:
            end = known
            for inner in alternative:
                end = first_mentions(inner, end, first)
            ends.append(end)
        return frozenset.intersection(*ends)
    return known


def test_cast_is_first_mentioned_by_a_prefix_free_name():
    first = set()
    first_mentions(STORIES.document, frozenset(), first)
    assert first
    for member, form in first:
        names = [alternative[form] for alternative in member.alternatives]
        assert not any(b.startswith(a) or a.startswith(b) for a, b in combinations(names, 2))


def test_code_length_per_byte_approaches_the_floor(rng):
    documents = [STORIES.sample(rng) for _ in range(4000)]
    bits = sum(document.bits for document in documents)
    length = sum(len(document.text.encode()) for document in documents)
    # Of 4,000 stories the ratio has a standard error of 0.1%.
    assert bits / length == pytest.approx(FLOOR_BITS_PER_BYTE, rel=0.005)


def test_floor_is_the_entropy_of_the_grammar():
    exact = grammar_entropy(STORIES).bits_per_byte
    assert pytest.approx(exact, rel=1e-12) == FLOOR_BITS_PER_BYTE


def test_stories_are_plain_and_well_formed(rng):
    for _ in range(500):
        text = STORIES.sample(rng).text
        assert text.isascii()
        assert text.endswith(".\n")
        assert not re.search(r"[{}\[\]|]|  | ,|\b[Aa] [aeio]", text), text
        assert text.count('"') % 2 == 0
        for sentence in re.findall(r"(?:^|[.!?] )(\w)", text):
            assert sentence.isupper(), text


def test_last_paragraph_remembers_who_the_first_was_about(rng):
    members = [STORIES._cast[who] for who in ("hero", "friend")]
    cast = {one["name"] for member in members for one in member.alternatives}
    for _ in range(200):
        first, *_, last = STORIES.sample(rng).text.split("\n\n")
        known, named = (cast & set(re.findall(r"\w+", part)) for part in (first, last))
        assert named, last
        assert named <= known, (first, last)


def write_stories(path, *, size_bytes, seed):
    return write_documents(path, story_documents(seed=seed), max_bytes=size_bytes)


def test_file_holds_whole_stories_up_to_its_size(tmp_path):
    report = write_stories(tmp_path / "stories.txt", size_bytes=100_000, seed=7)
    data = (tmp_path / "stories.txt").read_bytes()
    assert len(data) == report.bytes
    assert 100_000 <= len(data) < 103_000
    assert data.count(b"<|endoftext|>") == report.documents
    assert data.endswith(b"<|endoftext|>")
    assert hashlib.sha256(data).hexdigest() == report.sha256


def test_file_is_the_same_for_a_seed_and_on_every_machine(tmp_path):
    report = write_stories(tmp_path / "a.txt", size_bytes=50_000, seed=0)
    assert write_stories(tmp_path / "b.txt", size_bytes=50_000, seed=0) == report
    assert write_stories(tmp_path / "c.txt", size_bytes=50_000, seed=1).sha256 != report.sha256
    assert report.sha256.startswith("a8b78026be5bb949")
