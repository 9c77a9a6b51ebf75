import os
import stat

import pytest

from minillm.files import read_json, replace_file


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "file.txt"
    target.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(target, b"after")
    assert caught.value.filename == str(target)
    assert os.listdir(tmp_path) == ["file.txt"]  # noqa: PTH208
    assert target.read_text() == "before"


def test_folders_are_made_and_others_may_read(tmp_path):
    target = tmp_path / "a/b/file.txt"
    replace_file(target, b"caf\xc3\xa9\r\n")
    assert target.read_bytes() == b"caf\xc3\xa9\r\n"
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_bytes_reach_the_disk_before_the_name_does_and_the_name_before_the_end(
    tmp_path, monkeypatch
):
    target = tmp_path / "file.txt"
    synced = []

    def note(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(("folder" if is_folder else "file", target.exists()))

    monkeypatch.setattr(os, "fsync", note)
    replace_file(target, b"content")
    assert synced == [("file", False), ("folder", True)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is damaged: not JSON"),
        (b'{"a":' + b"[" * 100_000, "is damaged: not JSON"),
        (b"\xff", "is damaged: not JSON"),
        (b"[]", "is damaged: not a JSON object"),
    ],
)
def test_json_that_is_no_object_is_refused_by_the_name_of_its_file(tmp_path, content, problem):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_json(path)
    assert str(caught.value) == f"`{path}` {problem}"
