"""Published tokenizers can be continued, and what comes of it loads where they load."""

import pytest

from minillm.tokenizer import Tokenizer

EOT = "<|endoftext|>"

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def texts(data_dir):
    files = sorted((data_dir / "torture/multilingual").glob("*.txt"))
    return [file.read_bytes()[:200_000].decode(errors="ignore") for file in files]


def check(base, texts, folder):
    from tokenizers import Tokenizer as HfTokenizer

    continued = base.continued(texts, base.vocab_size + 500, min_frequency=2)
    assert base.vocab.items() <= continued.vocab.items()
    assert continued.special_tokens == base.special_tokens
    assert continued.vocab_size == base.vocab_size + 500
    assert continued.truncated(base.vocab_size).vocab == base.vocab
    assert continued.bytes_per_token(texts) > 1.1 * base.bytes_per_token(texts)
    continued.save(folder / "tokenizer.json")
    theirs = HfTokenizer.from_file(str(folder / "tokenizer.json"))
    for text in texts:
        ids = continued.encode(text[:50_000], allowed_special="all")
        assert theirs.encode(text[:50_000]).ids == ids


def test_gpt2_can_be_continued(data_dir, texts, tmp_path):
    folder = data_dir / "parity/gpt2"
    base = Tokenizer.from_files(folder / "encoder.json", folder / "vocab.bpe")
    check(base, texts, tmp_path)
    continued = base.continued(texts, base.vocab_size + 100)
    assert continued.merges[:50_000] == base.merges
    assert continued.eot_id == 50256


def test_ranks_can_be_continued(data_dir, texts, tmp_path):
    file = data_dir / "parity/tiktoken/cl100k_base.tiktoken"
    specials = {EOT: 100257, "<|endofprompt|>": 100276}
    check(Tokenizer.from_ranks(file, specials, "cl100k"), texts, tmp_path)


def test_a_tokenizer_that_lacks_bytes_is_refused(data_dir, texts):
    folder = data_dir / "parity/smollm2-tokenizer"
    base = Tokenizer.from_files(folder / "vocab.json", folder / "merges.txt")
    with pytest.raises(ValueError, match="no token for byte 0x04, so it cannot be continued"):
        base.continued(texts, base.vocab_size + 100)
