import pytest
import torch

from minillm.config import ModelConfig, SampleConfig
from minillm.infer import TextStream, stream_texts
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer

BYTES = Tokenizer({byte: bytes([byte]) for byte in range(256)}, [])
"""Of it, bytes are their own ids."""


def stream_all(pieces, stop=()):
    stream = TextStream(BYTES, stop)
    return [stream.push(list(piece)) for piece in pieces], stream


def cut(data, rng):
    """Cuts bytes into pieces at random places."""
    places = sorted(rng.choices(range(len(data) + 1), k=rng.randrange(6)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def test_half_a_character_waits_for_its_rest():
    texts, stream = stream_all([b"a\xf0\x9f", b"\x99", b"\x82b"])
    assert texts == ["a", "", "\U0001f642b"]
    assert stream.finish() == ""


def test_bytes_that_never_become_a_character_come_out_as_replacement():
    texts, stream = stream_all([b"a\xff", b"b\xe2\x82"])
    assert "".join(texts) == "a\ufffdb"
    assert stream.finish() == "\ufffd"


def test_replacements_equal_those_of_decoding_at_once(rng):
    alphabet = [b"a", b"\xc3", b"\xa9", b"\xe2", b"\x82", b"\xac", b"\xf0", b"\x9f", b"\xff"]
    for _ in range(2000):
        data = b"".join(rng.choices(alphabet, k=rng.randrange(12)))
        texts, stream = stream_all(cut(data, rng))
        assert "".join(texts) + stream.finish() == data.decode("utf-8", "replace")


def test_stop_string_across_tokens_ends_the_text_before_it():
    texts, stream = stream_all([b"one ST", b"O", b"P two"], ["STOP"])
    assert texts == ["one ", "", ""]
    assert stream.stopped
    assert stream.push(list(b"more")) == ""
    assert stream.finish() == ""


def test_what_turns_out_to_be_no_stop_string_is_emitted():
    texts, stream = stream_all([b"one ST", b"AR"], ["STOP"])
    assert texts == ["one ", "STAR"]
    assert not stream.stopped


def test_held_back_text_comes_out_at_the_end():
    texts, stream = stream_all([b"one ST"], ["STOP"])
    assert "".join(texts) == "one "
    assert stream.finish() == "one ST"[4:]


def test_stop_string_that_overlaps_itself_is_found():
    texts, stream = stream_all([b"aa", b"ab"], ["aab"])
    assert "".join(texts) + stream.finish() == "a"
    assert stream.stopped


def test_first_complete_stop_string_wins():
    texts, _ = stream_all([b"xabc"], ["abc", "b"])
    assert texts == ["xa"]


def test_longer_of_two_complete_at_once_wins():
    texts, _ = stream_all([b"xabc"], ["bc", "abc"])
    assert texts == ["x"]


def test_stop_string_of_many_byte_characters_may_be_cut_inside_one():
    euro = "\u20ac".encode()
    texts, stream = stream_all([b"5 " + euro[:1], euro[1:], euro + b"!"], ["\u20ac\u20ac"])
    assert texts == ["5 ", "", ""]
    assert stream.stopped


def test_cuts_never_change_the_whole(rng):
    stops = ["ab", "abab", "ba\u00e9", "\u00e9\u00e9", "bbb"]
    for _ in range(3000):
        data = "".join(rng.choices("ab\u00e9", k=rng.randrange(14))).encode()
        chosen = rng.sample(stops, rng.randrange(1, 4))
        whole = TextStream(BYTES, chosen)
        expected = whole.push(list(data)) + whole.finish()
        texts, stream = stream_all(cut(data, rng), chosen)
        assert "".join(texts) + stream.finish() == expected
        assert stream.stopped == whole.stopped
        assert stream.stopped or expected == data.decode()


def test_million_equal_bytes_are_linear():
    texts, stream = stream_all([b"a" * 1000] * 1000, ["a" * 50 + "b"])
    assert len("".join(texts) + stream.finish()) == 1_000_000


def test_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="stop string is empty"):
        TextStream(BYTES, ["a", ""])


LETTERS = Tokenizer(
    dict(enumerate([b"a", b"b", b"ba", b"\xc3", b"\xa9"])), [], ["<|endoftext|>"], pattern=None
)
"""Few tokens, so that a model that knows nothing meets every stop string soon."""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    shape = {"vocab_size": 7, "context_length": 64, "d_model": 16, "n_layers": 1, "n_heads": 1}
    return Transformer(ModelConfig(**shape)).eval()


def texts_of(model, n_rows, **changes):
    config = SampleConfig(**{"temperature": 1.0, "max_new_tokens": 40} | changes)
    prompts = [[0] * (1 + row) for row in range(n_rows)]
    texts, tokens = [""] * n_rows, [[] for _ in range(n_rows)]
    for new, text in stream_texts(model, LETTERS, prompts, config, seeds=range(n_rows)):
        texts[new.row] += text
        tokens[new.row].append(new)
    return texts, tokens


def test_texts_are_what_the_tokens_decode_to(model):
    texts, tokens = texts_of(model, 12, logit_bias={5: -2.5})
    for text, row in zip(texts, tokens, strict=True):
        ids = [new.id for new in row if new.finish != "stop"]
        assert text == LETTERS.decode_bytes(ids).decode("utf-8", "replace")
    finishes = {row[-1].finish for row in tokens}
    assert finishes == {"stop", "length"}
    assert not any(new.finish for row in tokens for new in row[:-1])


def test_each_text_ends_before_its_own_stop_string(model):
    free, _ = texts_of(model, 12, logit_bias={5: -1e9})
    texts, tokens = texts_of(model, 12, logit_bias={5: -1e9}, stop=("abb", "\u00e9a"))
    for whole, text, row in zip(free, texts, tokens, strict=True):
        ends = [whole.index(stop) for stop in ("abb", "\u00e9a") if stop in whole]
        assert text == (whole[: min(ends)] if ends else whole)
        assert row[-1].finish == ("stop" if ends else "length")
        assert len(row) == 40 or ends
    assert len({len(row) for row in tokens}) > 3


def test_a_stop_string_that_never_comes_takes_nothing_away(model):
    free, _ = texts_of(model, 3)
    assert texts_of(model, 3, stop=("abababababababababab\u20ac",))[0] == free


def test_ids_without_a_token_are_never_drawn(model):
    _, tokens = texts_of(model, 12)
    assert {new.id for row in tokens for new in row} <= set(range(6))
