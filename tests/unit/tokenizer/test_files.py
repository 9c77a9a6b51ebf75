import pytest

from minillm.tokenizer import Tokenizer


def test_saved_tokenizers_are_equal_when_loaded(tmp_path):
    tokenizer = Tokenizer.train(["low lower lowest"] * 3, 262)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path) == Tokenizer.load(tmp_path / "tokenizer.json") == tokenizer


def test_published_formats_are_written_and_read(tmp_path):
    tokenizer = Tokenizer.train(["low lower lowest caf\u00e9"] * 3, 268)
    text = "lower caf\u00e9 lowest"
    tokenizer.save_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    again = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert again == tokenizer
    tokenizer.save_ranks(tmp_path / "ranks.tiktoken")
    ranked = Tokenizer.from_ranks(tmp_path / "ranks.tiktoken", tokenizer.special_tokens)
    assert ranked.vocab == tokenizer.vocab
    assert ranked.encode(text) == tokenizer.encode(text)


def test_ids_that_are_no_ranks_are_not_written_as_such(tmp_path):
    tokenizer = Tokenizer({0: b"ab", 1: b"abb", 2: b"a", 3: b"b"}, [(b"a", b"b"), (b"ab", b"b")])
    reversed_ids = Tokenizer({0: b"abb", 1: b"ab", 2: b"a", 3: b"b"}, tokenizer.merges)
    with pytest.raises(ValueError, match="not in the order of the merges"):
        reversed_ids.save_ranks(tmp_path / "ranks.tiktoken")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b'{"model": {"type": "Unigram", "vocab": []}}']
)
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, content):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer.json`: "):
        Tokenizer.load(file)


def test_a_missing_file_is_named(tmp_path):
    for load in (
        lambda: Tokenizer.load(tmp_path / "gone.json"),
        lambda: Tokenizer.load(tmp_path),
        lambda: Tokenizer.from_ranks(tmp_path / "gone.tiktoken", {}),
        lambda: Tokenizer.from_files(tmp_path / "gone.json", tmp_path / "gone.txt"),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            load()
        assert str(tmp_path) in str(caught.value.filename)


def test_a_broken_line_of_ranks_is_named(tmp_path):
    file = tmp_path / "broken.tiktoken"
    file.write_text("YQ== 0\nYg== one\n")
    with pytest.raises(ValueError, match=r"broken.tiktoken`: line 2"):
        Tokenizer.from_ranks(file, {})
