import time
from types import SimpleNamespace

import pytest

from minillm.tokenizer import progress
from minillm.tokenizer.progress import Snapshot, drawn


def test_rate_and_time_left_are_told():
    counting = Snapshot("count", done=50_000_000, total=200_000_000, elapsed_s=2.0)
    assert counting.describe() == "50 of 200 MB, 25 MB/s, 6 s left"
    merging = Snapshot("merge", done=1_500, total=2_000, elapsed_s=0.5)
    assert merging.describe() == "1,500 of 2,000 merges, 3,000 merges/s, 0 s left"


def test_what_is_not_known_is_not_told():
    piped = Snapshot("encode", done=7_000_000, total=0, elapsed_s=1.0)
    assert piped.describe() == "7 MB, 7 MB/s"
    assert Snapshot("count", done=0, total=10_000_000, elapsed_s=0.0).describe() == (
        "0 of 10 MB, 0 MB/s"
    )


def test_plain_lines_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    work = SimpleNamespace(phase="encode", done=3_000_000, total=6_000_000)
    with drawn(work, quiet=False):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("encoding: 3 of 6 MB, ") for line in lines)


def test_quiet_draws_nothing_and_an_error_passes(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    work = SimpleNamespace(phase="encode", done=3, total=6)
    for quiet in (True, False):
        with pytest.raises(KeyboardInterrupt), drawn(work, quiet=quiet):
            raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
