import os
import stat

import pytest

from minillm.files import replace_file


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
