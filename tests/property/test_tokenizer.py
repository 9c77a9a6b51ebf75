"""What holds of any text and any vocabulary."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm.tokenizer import Tokenizer, pretokenize

SAMPLE = [
    "the quick brown fox jumps over the lazy dog, doesn't it? " * 3,
    "aaaaaaaa abababab 1234 12345   \n\n\t x " * 3,
    "naïve café 안녕하세요 नमस्ते 🏳️‍🌈 " * 3,
]
SPECIALS = ("<|endoftext|>", "<|end|>", "<|endoftext|><|end|>", "ab")
PATTERNS = ["gpt2", "cl100k", r"\w+|\W+", None]

# Letters that merge, spaces of all kinds, special tokens and fragments of them.
WORDS = ["the", " quick", "a", "ab", " ", "\n", "\r\n", "\u3000", "'s", "12", "é", "🏳️\u200d🌈"]
fragments = st.sampled_from([*WORDS, "\u0301", *SPECIALS, "<|end", "oftext|>", "<|", "|>"])
texts = st.lists(st.one_of(fragments, st.text(max_size=8)), max_size=20).map("".join)


@pytest.fixture(scope="module", params=PATTERNS)
def tokenizer(request):
    return Tokenizer.train(SAMPLE, 340, special_tokens=SPECIALS, pattern=request.param)


@given(data=st.binary(max_size=200))
def test_decode_inverts_encode_of_any_bytes(tokenizer, data):
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@given(text=texts)
def test_decode_inverts_encode_of_any_text(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, allowed_special="all"), "strict") == text
    assert tokenizer.decode(tokenizer.encode_ordinary(text), "strict") == text


@given(text=texts)
def test_ordinary_text_never_yields_a_special_token(tokenizer, text):
    assert not set(tokenizer.encode_ordinary(text)) & set(tokenizer.special_tokens.values())


@given(text=texts, data=st.data())
def test_pieces_cut_anywhere_give_the_ids_of_the_whole(tokenizer, text, data):
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    ends = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(ends)]
    whole = tokenizer.encode(text, allowed_special="all")
    assert list(tokenizer.encode_iterable(pieces)) == whole
    ordinary = tokenizer.encode_iterable(pieces, allowed_special=set())
    assert list(ordinary) == tokenizer.encode_ordinary(text)


@given(batch=st.lists(texts, max_size=12))
def test_ids_do_not_depend_on_threads(tokenizer, batch):
    expected = [tokenizer.encode(text, allowed_special="all") for text in batch]
    for threads in (1, 3):
        options = {"allowed_special": "all", "threads": threads}
        assert tokenizer.encode_batch_to_lists(batch, **options) == expected


@given(text=texts)
def test_pre_tokens_add_up_to_the_text(text):
    for pattern in PATTERNS:
        assert "".join(pretokenize(text, pattern)) == text


@settings(max_examples=25)
@given(
    corpus=st.lists(texts, min_size=1, max_size=8), tie_break=st.sampled_from(["lex", "id", "hf"])
)
@pytest.mark.filterwarnings("ignore:.*vocab_size")
def test_merges_do_not_depend_on_threads(corpus, tie_break):
    corpus = [*corpus, "never empty"]
    trained = [
        Tokenizer.train(iter(corpus), 300, tie_break=tie_break, threads=threads)
        for threads in (1, 2, 5)
    ]
    assert trained[0] == trained[1] == trained[2]
