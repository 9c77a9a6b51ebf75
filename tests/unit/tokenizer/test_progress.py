import time
from types import SimpleNamespace

import pytest

from minillm.tokenizer import progress
from minillm.tokenizer.progress import drawn


def work_at(done, total):
    """An extension at work."""
    return SimpleNamespace(
        phase="encoding", done=done, total=total, describe=lambda: f"{done} of {total} MB"
    )


def test_plain_lines_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    work = work_at(3, 6)
    with drawn(work, quiet=False):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("encoding: 3 of 6 MB") for line in lines)


def test_quiet_draws_nothing_and_an_error_passes(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    work = work_at(3, 6)
    for quiet in (True, False):
        with pytest.raises(KeyboardInterrupt), drawn(work, quiet=quiet):
            raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
