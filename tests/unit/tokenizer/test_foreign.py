import json

import numpy as np
import pytest

from minillm.data import TokenFile
from minillm.tokenizer import (
    ForeignTokenizer,
    Tokenizer,
    encode_texts,
    text_encoder,
)

EOT = "<|endoftext|>"
TEXTS = ["low lower lowest, naïve café 안녕", "newer newest 123", " \n", "a\nb  c"]


@pytest.fixture(scope="module")
def own():
    return Tokenizer.train(TEXTS * 4, 290)


@pytest.fixture(scope="module")
def tiktoken_encoding(own):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {token: i for i, token in own.vocab.items() if i != own.eot_id}
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    specials = {EOT: own.eot_id}
    return tiktoken.Encoding("t", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)


@pytest.fixture(scope="module")
def byte_level(own, tmp_path_factory):
    from tokenizers import Tokenizer as HfTokenizer

    path = tmp_path_factory.mktemp("hf") / "tokenizer.json"
    own.save(path)
    return HfTokenizer.from_file(str(path))


@pytest.fixture(scope="module")
def sentence_piece():
    """A Unigram model with SentencePiece's spaces and its fallback to bytes."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as HfTokenizer

    pieces = [("<unk>", 0.0), *[(f"<0x{byte:02X}>", -20.0) for byte in range(256)]]
    pieces += [(character, -5.0) for character in "abcdefghijklmnopqrstuvwxyz,123\u2581\n"]
    pieces += [("\u2581low", -2.0), ("er", -2.0), ("est", -2.0), ("new", -2.0)]
    tokenizer = HfTokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return tokenizer


def test_our_own_needs_no_wrapping(own):
    assert text_encoder(own) is own
    wrapped = ForeignTokenizer(lambda _: [], {0: b"a"}, [], None, "")
    assert text_encoder(wrapped) is wrapped


def test_our_own_may_end_documents_by_another_token():
    tokenizer = Tokenizer.train(TEXTS * 4, 290, special_tokens=("<end>",))
    assert tokenizer.eot_id is None
    wrapped = text_encoder(tokenizer, eot="<end>")
    assert (wrapped.eot_id, wrapped.sha256) == (289, tokenizer.sha256)
    assert wrapped.encode_ordinary("low<end>") == tokenizer.encode_ordinary("low<end>")
    with pytest.raises(ValueError, match="eot is '</s>', but the special tokens are"):
        text_encoder(tokenizer, eot="</s>")


@pytest.mark.parametrize("kind", ["tiktoken_encoding", "byte_level"])
def test_a_wrapped_tokenizer_is_like_our_own(request, own, kind):
    wrapped = text_encoder(request.getfixturevalue(kind))
    assert (wrapped.vocab, wrapped.vocab_size, wrapped.eot_id) == (own.vocab, 290, own.eot_id)
    np.testing.assert_array_equal(wrapped.token_bytes_lengths(), own.token_bytes_lengths())
    for text in TEXTS:
        ids = wrapped.encode_ordinary(text)
        assert ids == own.encode_ordinary(text)
        assert wrapped.decode_bytes(ids) == text.encode()
        assert wrapped.decode(np.array(ids)) == text
    with pytest.raises(ValueError, match="id 290 is not in the vocabulary"):
        wrapped.decode([290])


@pytest.mark.parametrize("kind", ["tiktoken_encoding", "byte_level"])
def test_a_convertible_tokenizer_is_converted(request, own, kind):
    theirs = request.getfixturevalue(kind)
    convert = (
        Tokenizer.from_tiktoken if kind == "tiktoken_encoding" else Tokenizer.from_hugging_face
    )
    converted = convert(theirs)
    assert (converted.vocab, converted.pattern) == (own.vocab, "gpt2")
    for text in TEXTS:
        assert converted.encode(text) == own.encode(text)


def test_a_fast_tokenizer_of_transformers_is_taken_too(own, byte_level):
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=byte_level)
    assert text_encoder(fast).encode_ordinary(TEXTS[0]) == own.encode(TEXTS[0])
    assert Tokenizer.from_hugging_face(fast).vocab == own.vocab


def test_sentence_pieces_are_bytes(sentence_piece):
    with pytest.raises(ValueError, match=r"model\.type: is not `BPE`"):
        Tokenizer.from_hugging_face(sentence_piece)
    wrapped = text_encoder(sentence_piece, eot="</s>")
    assert wrapped.eot_id == sentence_piece.token_to_id("</s>")
    text = "low lower é newest"
    ids = wrapped.encode_ordinary(text)
    assert ids == sentence_piece.encode(text).ids
    assert wrapped.decode(ids) == text
    assert wrapped.token_bytes_lengths()[ids].sum() == len(text.encode())
    assert wrapped.token_bytes_lengths()[wrapped.eot_id] == 0


@pytest.mark.parametrize("kind", ["own", "tiktoken_encoding", "byte_level", "sentence_piece"])
def test_texts_become_a_token_file(request, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("minillm.tokenizer.foreign.BATCH_BYTES", 20)
    eot = "</s>" if kind == "sentence_piece" else None
    tokenizer = text_encoder(request.getfixturevalue(kind), eot=eot)
    report = encode_texts(iter(TEXTS), tmp_path / "train.bin", tokenizer=tokenizer)
    file = TokenFile(tmp_path / "train.bin")
    file.check_tokenizer(tokenizer.sha256, "tokenizer")
    documents = [text for text in TEXTS if text.strip()]
    expected = []
    for text in documents:
        expected += [*tokenizer.encode_ordinary(text), tokenizer.eot_id]
    assert file.ids.tolist() == expected
    assert (report.documents, report.tokens) == (3, len(expected))
    manifest = json.loads((tmp_path / "train.json").read_text())
    assert manifest["bytes"] == sum(len(text.encode()) for text in documents)
    assert manifest["sources"] == [{"path": "texts", "bytes": manifest["bytes"]}]
    starts = np.fromfile(tmp_path / "train.idx", "<u8")
    assert file.ids[starts[1:] - 1].tolist() == [tokenizer.eot_id] * 2


def test_the_file_is_the_one_that_the_command_writes(own, tmp_path):
    from minillm import messages
    from minillm.tokenizer.commands import app

    own.save(tmp_path / "tokenizer.json")
    (tmp_path / "corpus.txt").write_text(EOT.join(TEXTS), newline="")
    words = ["encode", str(tmp_path / "corpus.txt"), "--tokenizer", str(tmp_path), "--quiet"]
    words += ["--out", str(tmp_path / "theirs.bin"), "--val-fraction", "0"]
    assert messages.run(app, words) == 0
    encode_texts(TEXTS, tmp_path / "ours.bin", tokenizer=own)
    for suffix in (".bin", ".idx"):
        ours, theirs = (tmp_path / f"{name}{suffix}" for name in ("ours", "theirs"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_texts_that_fail_leave_nothing(own, tmp_path):
    def texts():
        yield "low"
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="gone") as kept:
        encode_texts(texts(), tmp_path / "train.bin", tokenizer=own)
    assert list(tmp_path.iterdir()) == []
    assert kept.tb is not None


def test_one_writes_a_token_file_at_a_time(own, tmp_path):
    out = tmp_path / "train.bin"

    def texts():
        yield "low"
        with pytest.raises(OSError, match="another process is writing it"):
            encode_texts(["low"], out, tokenizer=own)
        (tmp_path / "corpus.txt").write_text("low")
        with pytest.raises(OSError, match="another process is writing it"):
            own.encode_files([tmp_path / "corpus.txt"], out)

    assert encode_texts(texts(), out, tokenizer=own).documents == 1


def test_ids_beyond_the_vocabulary_are_refused(tmp_path):
    liar = ForeignTokenizer(lambda texts: [[7] for _ in texts], {0: b"a"}, [], None, "")
    with pytest.raises(ValueError, match="id 7 at position 0 is not in the vocabulary"):
        encode_texts(["a"], tmp_path / "train.bin", tokenizer=liar)
    assert list(tmp_path.iterdir()) == []


def test_the_hash_is_that_of_the_serialized_form(own, tiktoken_encoding, byte_level):
    hashes = {text_encoder(one).sha256 for one in (own, tiktoken_encoding, byte_level)}
    assert len(hashes) == 3
    assert text_encoder(byte_level).sha256 == text_encoder(byte_level).sha256


def test_what_cannot_be_wrapped_is_named(byte_level):
    from tokenizers import Tokenizer as HfTokenizer
    from tokenizers import decoders, models

    with pytest.raises(ValueError, match="a dict is no tokenizer that is known here"):
        text_encoder({})
    with pytest.raises(ValueError, match=r"eot is '</s>', but the special tokens are \['<\|endof"):
        text_encoder(byte_level, eot="</s>")
    padded = HfTokenizer.from_str(byte_level.to_str())
    padded.enable_padding()
    with pytest.raises(ValueError, match="the tokenizer's padding is on"):
        text_encoder(padded)
    pieces = HfTokenizer(models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))  # noqa: S106
    with pytest.raises(ValueError, match="decoder is `none`, expected ByteLevel"):
        text_encoder(pieces)
    pieces.decoder = decoders.WordPiece()
    with pytest.raises(ValueError, match="decoder is `WordPiece`"):
        text_encoder(pieces)
