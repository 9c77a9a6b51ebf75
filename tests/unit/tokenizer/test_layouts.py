import io

import numpy as np
import pytest

from minillm.tokenizer.layouts import map_ids, read_layout

IDS = [1, 2, 3, 40_000, 5]


def llmc_file(path, ids, *, magic=20240520, version=1, dtype="<u2", tokens=None):
    """As `dev/data/data_common.py` of llm.c lays it out."""
    header = np.zeros(256, dtype=np.int32)
    header[:3] = magic, version, len(ids) if tokens is None else tokens
    path.write_bytes(header.tobytes() + np.array(ids, dtype).tobytes())
    return path


@pytest.mark.parametrize(
    ("magic", "version", "dtype"), [(20240520, 1, "uint16"), (20240801, 7, "uint32")]
)
def test_llmcs_files_are_told_by_their_magic_number(tmp_path, magic, version, dtype):
    path = llmc_file(tmp_path / "a.bin", IDS, magic=magic, version=version, dtype=dtype)
    layout = read_layout(path)
    assert (layout.name, layout.dtype, layout.tokens) == ("llmc", dtype, 5)
    assert map_ids(path, layout).tolist() == IDS
    assert layout.described == f"{dtype} ids behind the header of llm.c"


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_numpys_files_are_told_by_their_magic_bytes(tmp_path, dtype):
    path = tmp_path / "any.name"
    with path.open("wb") as file:
        np.save(file, np.array(IDS, dtype))
    layout = read_layout(path)
    assert (layout.name, layout.dtype) == ("npy", dtype)
    assert map_ids(path, layout).tolist() == IDS


def test_all_else_is_bare(tmp_path):
    np.array(IDS, "<u2").tofile(tmp_path / "a.bin")
    layout = read_layout(tmp_path / "a.bin")
    assert (layout.name, layout.dtype, layout.offset) == ("nanogpt", "uint16", 0)
    assert "nanoGPT" in layout.described


def test_files_without_ids_are_read(tmp_path):
    path = llmc_file(tmp_path / "a.bin", [])
    assert map_ids(path, read_layout(path)).tolist() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 6}, "its header says 6 tokens, the file holds 5"),
        ({"tokens": -1}, "its header says -1 tokens, the file holds 5"),
        ({"tokens": 2**31 - 1}, "its header says 2147483647 tokens, the file holds 5"),
        ({"version": 2}, "llm.c's header has version 2, expected 1 behind 20240520"),
        ({"dtype": "u1", "ids": [1, 2, 3]}, "3 bytes is not a multiple of 2"),
    ],
)
def test_llmc_files_that_lie_are_refused(tmp_path, options, message):
    path = llmc_file(tmp_path / "a.bin", options.pop("ids", IDS), **options)
    with pytest.raises(ValueError, match=message):
        read_layout(path)


def test_a_header_that_is_cut_is_refused(tmp_path):
    path = llmc_file(tmp_path / "a.bin", IDS)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"`.*a\.bin`: the file is cut short inside of its header"):
        read_layout(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3), "u2"), r"holds <u2 of shape \(2, 3\), expected <u2 or <u4, and one axis"),
        (np.zeros(3, "i8"), "holds <i8 of shape"),
        (np.zeros(3, ">u2"), "holds >u2 of shape"),
        (np.array([{}], object), r"holds \|O of shape"),
    ],
)
def test_arrays_of_anything_else_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_layout(tmp_path / "a.npy")


def test_a_length_that_is_no_whole_number_is_refused(tmp_path):
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (2.0,)}\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(start + header + bytes(4))
    with pytest.raises(ValueError, match=r"holds <u2 of shape \(2\.0,\), expected <u2 or <u4"):
        read_layout(tmp_path / "a.npy")


@pytest.mark.parametrize("at", range(6, 129))
def test_damaged_npy_files_are_refused_or_read_whole(tmp_path, at):
    file = io.BytesIO()
    np.save(file, np.array(IDS, "<u2"))
    whole = bytearray(file.getvalue())
    path = tmp_path / "a.npy"
    for change in (0, 0x31, 0xFF):
        path.write_bytes(whole[:at] + bytes([change]) + whole[at + 1 :])
        try:
            assert len(map_ids(path, read_layout(path))) == len(IDS)
        except ValueError as error:
            assert str(path) in str(error)
    path.write_bytes(whole[:at])
    with pytest.raises(ValueError, match=r"a\.npy"):
        read_layout(path)
