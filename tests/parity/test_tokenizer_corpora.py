"""Merges equal those of the textbook and of two independent trainers, on 200 small corpora.

Small alphabets make pairs tie, repeat and overlap; characters of several bytes share their first
ones. The seeds are fixed.
"""

import random

import pytest

from minillm.tokenizer import Counts, Tokenizer

ALPHABETS = [
    "ab",
    "abc",
    "abcdefgh",
    "aA'1. ",
    "éèêë",
    "한국어",
    "你好\uff0c",
    "🙂🙃a",
    "naïve café",
]
OPTIONS = {"special_tokens": ()}

pytestmark = pytest.mark.filterwarnings("ignore:vocab_size is")


def corpus(seed):
    """Documents, and a size of the vocabulary that they may or may not be enough for."""
    rng = random.Random(seed)
    letters = rng.choice(ALPHABETS)

    def word():
        if rng.random() < 0.2:
            return rng.choice(letters) * rng.randint(1, 20)
        return "".join(rng.choices(letters, k=rng.randint(1, 6)))

    words = [word() for _ in range(rng.randint(1, 30))]
    between = rng.choice([" ", "\n", " \n", "  "])
    documents = [between.join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(6)]
    return documents, 256 + rng.randint(1, 80)


@pytest.mark.parametrize("seed", range(200))
def test_merges_equal_those_of_every_other_trainer(
    seed, rustbpe_merges, hugging_face_merges, textbook_merges
):
    documents, vocab_size = corpus(seed)
    for tie_break in ("lex", "id", "hf"):
        expected = textbook_merges(documents, vocab_size, tie_break)
        for threads in (1, 2, 5):
            options = OPTIONS | {"tie_break": tie_break, "threads": threads}
            assert Tokenizer.train(iter(documents), vocab_size, **options).merges == expected
        if tie_break == "id":
            joined = [left + right for left, right in expected]
            assert joined == rustbpe_merges(documents, vocab_size)
        if tie_break == "hf":
            assert expected == hugging_face_merges(documents, vocab_size)


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_merges_do_not_depend_on_how_a_corpus_is_given(seed, tmp_path):
    rng = random.Random(seed)
    documents, vocab_size = corpus(seed)
    options = OPTIONS | {"tie_break": rng.choice(["lex", "id", "hf"])}
    files = [tmp_path / f"{i}.txt" for i in range(len(documents))]
    for file, document in zip(files, documents, strict=True):
        file.write_text(document)
        Counts.of(file, **OPTIONS).save(file.with_suffix(".counts"))
    weights = [rng.randint(1, 4) for _ in files]
    repeated = [file for file, n in zip(files, weights, strict=True) for _ in range(n)]
    rng.shuffle(repeated)
    expected = Tokenizer.train(repeated, vocab_size, **options)

    assert Tokenizer.train(files, vocab_size, weights=weights, **options) == expected
    order = rng.sample(range(len(files)), len(files))
    counts = [files[i].with_suffix(".counts") for i in order]
    counted = Counts.load(*counts, weights=[weights[i] for i in order])
    assert counted.train(vocab_size, tie_break=options["tie_break"]) == expected
    bounded = Tokenizer.train(repeated, vocab_size, max_memory=2 << 20, threads=1, **options)
    assert bounded == expected
