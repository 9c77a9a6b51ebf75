import json
import pickle

import pytest

from minillm.tokenizer import Tokenizer

EOT = "<|endoftext|>"
TEXT = (
    "low lower lowest new newer newest wide wider widest, all tried and tested in another document "
    "before the first word was written, or so they say who have been there " * 5
)
OTHER = (
    "what is wider than the widest and newer than the newest? nothing that anyone has ever heard "
    "from such distant places as these, where even numbers grow wild " * 5
)
TIE_BREAKS = ["lex", "id", "hf"]


def test_counts_of_merges_are_kept_and_saved(tmp_path):
    trained = Tokenizer.train(["abab ab"], 259, special_tokens=())
    assert trained.merges[:2] == [(b"a", b"b"), (b"ab", b"ab")]
    assert trained.merge_counts == [3, 1, 1]
    trained.save(tmp_path / "t.json")
    assert Tokenizer.load(tmp_path / "t.json").merge_counts == [3, 1, 1]
    assert pickle.loads(pickle.dumps(trained)).merge_counts == [3, 1, 1]  # noqa: S301  our own


def test_counts_of_merges_change_neither_sum_nor_equality(tmp_path):
    once = Tokenizer.train([TEXT], 280)
    twice = Tokenizer.train([TEXT] * 2, 280)
    assert once.merge_counts != twice.merge_counts
    assert (once.sha256, once) == (twice.sha256, twice)
    once.save(tmp_path / "t.json")
    facts = json.loads((tmp_path / "t.json").read_text())
    del facts["model"]["minillm"]["merge_counts"]
    (tmp_path / "t.json").write_text(json.dumps(facts))
    bare = Tokenizer.load(tmp_path / "t.json")
    assert (bare.merge_counts, bare.sha256) == (None, once.sha256)


def test_counts_of_other_merges_are_refused(tmp_path):
    Tokenizer.train([TEXT], 280).save(tmp_path / "t.json")
    facts = json.loads((tmp_path / "t.json").read_text())
    facts["model"]["minillm"]["merge_counts"].pop()
    (tmp_path / "t.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"t.json`: model.minillm.merge_counts: has 22 counts for"):
        Tokenizer.load(tmp_path / "t.json")


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
@pytest.mark.parametrize("specials_first", [False, True])
def test_truncated_is_what_training_gives(tmp_path, tie_break, specials_first):
    options = {"tie_break": tie_break, "specials_first": specials_first}
    options["special_tokens"] = (EOT, "new")
    large = Tokenizer.train([TEXT], 310, **options)
    for size in (258, 259, 280, 310):
        Tokenizer.train([TEXT], size, **options).save(tmp_path / "trained.json")
        large.truncated(size).save(tmp_path / "truncated.json")
        truncated = (tmp_path / "truncated.json").read_bytes()
        assert truncated == (tmp_path / "trained.json").read_bytes()


def test_what_cannot_be_truncated_is_named():
    trained = Tokenizer.train([TEXT], 280)
    for size, message in [(281, "it has only 280"), (256, r"byte b\"\\xff\" would be lost")]:
        with pytest.raises(ValueError, match=f"cannot shorten the vocabulary to {size} ids"):
            trained.truncated(size)
        with pytest.raises(ValueError, match=message):
            trained.truncated(size)
    with pytest.raises(ValueError, match="vocab_size is -1, expected 0 to"):
        trained.truncated(-1)


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
def test_continued_on_the_same_text_equals_one_run(tie_break):
    options = {"tie_break": tie_break, "specials_first": True}
    whole = Tokenizer.train([TEXT], 310, **options)
    base = Tokenizer.train([TEXT], 280, **options)
    continued = base.continued([TEXT], 310, tie_break=tie_break)
    assert continued == whole
    assert continued.merge_counts == whole.merge_counts
    assert continued.truncated(280) == base


def test_continued_keeps_all_ids_and_counts_in_the_new_text():
    base = Tokenizer.train([TEXT], 280)
    continued = base.continued([OTHER], 300, min_frequency=2, max_token_length=4)
    assert base.vocab.items() <= continued.vocab.items()
    assert continued.special_tokens == {EOT: 279}
    assert continued.merges[: len(base.merges)] == base.merges
    counts = dict(zip(continued.merges, continued.merge_counts, strict=True))
    assert counts[base.merges[0]] > 0
    assert 0 in counts.values()  # some of the old merges have nothing to merge any more
    new = continued.merges[len(base.merges) :]
    assert len(new) == 20
    assert all(len(left + right) <= 4 for left, right in new)


def test_continued_says_what_it_cannot_do():
    base = Tokenizer.train([TEXT], 280)
    with pytest.raises(ValueError, match="vocab_size is 279, but the tokenizer to continue from"):
        base.continued([TEXT], 279)
    with pytest.raises(ValueError, match="no text to train on"):
        base.continued([""], 300)
    partial = Tokenizer({0: b"a", 1: b"b"}, [], None)
    with pytest.raises(ValueError, match="no token for byte 0x00, so it cannot be continued"):
        partial.continued([TEXT], 300)
    with pytest.warns(UserWarning, match="vocab_size is [0-9]+ and not 5000: no two neighbours"):
        base.continued([TEXT], 5000)


def test_ranks_and_gaps_can_be_continued(tmp_path):
    vocab = {2 * i: bytes([i]) for i in range(256)} | {1000: b"lo", 1001: b"orphan"}
    gaps = Tokenizer(vocab, [(b"l", b"o")], {EOT: 700})
    ranks = {bytes([i]): i for i in range(256)} | {b"lo": 256}
    for base in (gaps, Tokenizer.from_ranks(ranks, {EOT: 700})):
        continued = base.continued([TEXT], base.vocab_size + 10)
        assert base.vocab.items() <= continued.vocab.items()
        assert continued.vocab_size == base.vocab_size + 10
        assert len(continued.encode_ordinary(TEXT)) < len(base.encode_ordinary(TEXT)) / 1.2
        continued.save(tmp_path / "t.json")
        assert Tokenizer.load(tmp_path / "t.json") == continued


def test_bytes_per_token_leaves_special_tokens_out(tmp_path):
    tokenizer = Tokenizer.train([TEXT], 280)
    expected = len(OTHER) / len(tokenizer.encode(OTHER))
    assert tokenizer.bytes_per_token([OTHER]) == expected
    (tmp_path / "other.txt").write_text(f"{EOT}{OTHER}{EOT}")
    for threads in (1, 3):
        assert tokenizer.bytes_per_token(tmp_path / "other.txt", threads=threads) == expected
    with pytest.raises(ValueError, match="no text to measure"):
        tokenizer.bytes_per_token([""])
    with pytest.raises(FileNotFoundError):
        tokenizer.bytes_per_token("gone.txt")
