"""`tokenizer.json` means the same to Hugging Face as to us."""

import json

import pytest

from minillm.tokenizer import Tokenizer

TEXTS = [
    "Hello, world! It's 3.14159 o'clock, isn't it?  We'LL..\r\n\n\tdef f(x):\n        return x",
    "naïve café Ελληνικά 안녕하세요 नमस्ते दुनिया 你好\uff0c世界 🏳️‍🌈👩🏼‍✈️",
    "<|endoftext|>between<|endoftext|><|endoftext|>",
    " \u3000\u2028\u0085 \u180e\u200b\ufeff x \u017f İ",
]


@pytest.fixture(scope="module", params=["gpt2", "cl100k", "llama3", "qwen2", "o200k", None])
def trained(request):
    return Tokenizer.train(TEXTS * 3, 420, pattern=request.param)


def hugging_face(tokenizer, folder):
    from tokenizers import Tokenizer as HfTokenizer

    tokenizer.save(folder / "tokenizer.json")
    return HfTokenizer.from_file(str(folder / "tokenizer.json"))


def test_tokenizers_gives_equal_ids(trained, tmp_path):
    theirs = hugging_face(trained, tmp_path)
    for text in TEXTS:
        assert theirs.encode(text).ids == trained.encode(text, allowed_special="all")


def test_tokenizers_decodes_to_the_text(trained, tmp_path):
    theirs = hugging_face(trained, tmp_path)
    for text in TEXTS:
        ids = trained.encode(text, allowed_special="all")
        assert theirs.decode(ids, skip_special_tokens=False) == text


def test_transformers_gives_equal_ids(trained, tmp_path):
    from transformers import PreTrainedTokenizerFast

    trained.save(tmp_path / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert theirs.encode(text) == trained.encode(text, allowed_special="all")


def test_a_file_that_tokenizers_wrote_is_read(trained, tmp_path):
    theirs = hugging_face(trained, tmp_path)
    theirs.save(str(tmp_path / "theirs.json"))
    assert Tokenizer.load(tmp_path / "theirs.json").vocab == trained.vocab


def test_vocabulary_from_ranks_gives_equal_ids(tmp_path):
    ranks = {token: i for i, token in Tokenizer.train(TEXTS * 3, 400).vocab.items() if i < 399}
    ranked = Tokenizer.from_ranks(ranks, {"<|endoftext|>": 1000})
    theirs = hugging_face(ranked, tmp_path)
    for text in TEXTS:
        assert theirs.encode(text).ids == ranked.encode(text, allowed_special="all")


SLICE_BYTES = 100_000


@pytest.fixture(scope="module")
def gpt2(data_dir):
    ranks = data_dir / "parity/tiktoken/r50k_base.tiktoken"
    return Tokenizer.from_ranks(ranks, {"<|endoftext|>": 50256})


@pytest.mark.data
def test_transformers_gives_equal_ids_on_the_torture_set(data_dir, gpt2, tmp_path):
    """As tokenizers does, in `test_published_vocabularies`."""
    from transformers import PreTrainedTokenizerFast

    gpt2.save(tmp_path / "tokenizer.json")
    lines = (data_dir / "torture/unicode/synthetic-edge-cases.jsonl").read_text().split("\n")
    texts = [json.loads(line) for line in lines if line]
    for file in sorted((data_dir / "torture").glob("*/*.txt")):
        texts.append(file.read_bytes()[:40_000].decode(errors="ignore"))
    ours = gpt2.encode_batch_to_lists(texts, allowed_special="all")
    loaded = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    ids = loaded(texts)["input_ids"]
    assert [i for i in range(len(texts)) if ids[i] != ours[i]] == []


@pytest.mark.data
@pytest.mark.slow
def test_ids_are_equal_on_every_byte_of_the_torture_set(data_dir, gpt2, tmp_path):
    """The whole files, in slices: half a minute."""
    theirs = hugging_face(gpt2, tmp_path)
    for file in sorted((data_dir / "torture").glob("*/*.txt")):
        text = file.read_bytes().decode(errors="ignore")
        slices = [text[i : i + SLICE_BYTES] for i in range(0, len(text), SLICE_BYTES)]
        ours = gpt2.encode_batch_to_lists(slices, allowed_special="all")
        for i, encoding in enumerate(theirs.encode_batch(slices)):
            assert encoding.ids == ours[i], f"{file.name}, slice {i}"
