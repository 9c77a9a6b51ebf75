import json

import numpy as np
import pytest

from minillm._core import ShardWriter
from minillm.data import TokenFile

MANIFEST = {
    "format": "minillm.tokens",
    "format_version": 1,
    "dtype": "uint16",
    "tokens": 5,
    "documents": 1,
    "bytes": 4,
    "vocab_size": 300,
    "eot_id": 299,
    "tokenizer_sha256": "a" * 64,
}


@pytest.fixture
def write(tmp_path):
    def write_shard(ids=(1, 2, 3, 4, 299), **changes):
        path = tmp_path / "train.bin"
        np.array(ids, dtype="<u4" if changes.get("dtype") == "uint32" else "<u2").tofile(path)
        path.with_suffix(".json").write_text(json.dumps(MANIFEST | changes))
        return path

    return write_shard


def test_ids_are_those_of_the_file(write):
    assert TokenFile(write()).ids.tolist() == [1, 2, 3, 4, 299]


def test_wide_ids_are_read(write):
    ids = [1, 2, 3, 4, 70_000]
    assert TokenFile(write(ids, dtype="uint32")).ids.tolist() == ids


def test_bare_file_is_read_as_16_bit_ids(tmp_path):
    np.array([7, 65_535], dtype="<u2").tofile(tmp_path / "a.bin")
    tokens = TokenFile(tmp_path / "a.bin")
    assert tokens.manifest is None
    assert tokens.ids.tolist() == [7, 65_535]


def test_file_shorter_than_its_manifest_is_refused(write):
    path = write(ids=(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"manifest says 5 tokens, the file holds 4$"):
        TokenFile(path)


def test_odd_length_is_refused(write):
    path = write()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="9 bytes is not a multiple of 2"):
        TokenFile(path)


def test_empty_file_is_refused(tmp_path):
    (tmp_path / "a.bin").touch()
    with pytest.raises(ValueError, match=r"`.*a\.bin` is empty"):
        TokenFile(tmp_path / "a.bin")


def test_empty_file_is_fine_where_the_manifest_says_so(write):
    assert len(TokenFile(write(ids=(), tokens=0))) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format is `other`, expected `minillm.tokens`"),
        ({"format_version": 2}, "format_version is 2, this minillm reads 1"),
        ({"dtype": "int8"}, "dtype is `int8`, expected uint16 or uint32"),
        ({"tokens": "many"}, "tokens: input should be a valid integer"),
        ({"vocab_size": 0}, "vocab_size: input should be greater than 0"),
    ],
)
def test_manifest_that_does_not_fit_is_refused_by_its_field(write, changes, message):
    with pytest.raises(ValueError, match=message):
        TokenFile(write(**changes))


def test_manifest_that_is_no_json_is_refused(write):
    path = write()
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=r"train\.json`: json: invalid json"):
        TokenFile(path)


def test_another_tokenizer_is_refused(write, tmp_path):
    tokens = TokenFile(write())
    tokens.check_tokenizer("a" * 64, tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match=r"tokenizer_sha256 aaaaaaaaaaaa\.\., .* is bbbbbbbbbbbb"):
        tokens.check_tokenizer("b" * 64, tmp_path / "tokenizer.json")


@pytest.fixture
def written(tmp_path):
    """A token file with its checksums, of a vocabulary of 300."""
    writer = ShardWriter(tmp_path / "a.bin", vocab_size=300, eot_id=299, tokenizer_sha256="a" * 64)
    writer.push([1, 2, 3, 4], 4)
    writer.finish([])
    return tmp_path / "a.bin"


@pytest.mark.parametrize("has_manifest", [True, False])
def test_id_beyond_the_vocabulary_is_named_with_its_position(written, has_manifest, monkeypatch):
    monkeypatch.setattr("minillm.data.token_file.SCAN_TOKENS", 2)
    if not has_manifest:
        written.with_suffix(".json").unlink()
    tokens = TokenFile(written)
    tokens.check_ids(300)
    with pytest.raises(ValueError, match="id 299 at position 4 is beyond the vocabulary of 299"):
        tokens.check_ids(299)


def test_a_flipped_bit_is_found_before_training(written):
    tokens = TokenFile(written)
    ids = bytearray(written.read_bytes())
    ids[4] ^= 1
    written.write_bytes(ids)
    with pytest.raises(ValueError, match=r"a\.bin: `block_xxh3` \[0\] is \w+, but the file has"):
        tokens.check_ids(300)


def test_identity_changes_with_the_contents(tmp_path):
    path = tmp_path / "a.bin"
    digests = set()
    for ids in ([1, 2], [1, 3], [1, 2, 2]):
        np.array(ids, dtype="<u2").tofile(path)
        digests.add(TokenFile(path).sha256)
    assert len(digests) == 3


def test_files_of_other_programs_have_nothing_to_verify(write, tmp_path):
    write()
    np.save(tmp_path / "train.npy", np.array([1, 2], "<u2"))
    tokens = TokenFile(tmp_path / "train.npy")
    tokens.verify()
    assert tokens.ids.tolist() == [1, 2]
