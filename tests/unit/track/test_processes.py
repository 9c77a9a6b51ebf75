import platform

import pytest

from minillm.track.processes import note_process, read_processes


def test_each_process_adds_what_it_takes_to_repeat_it(tmp_path):
    note_process(tmp_path, step=0, hashes={"train": "aa"})
    note_process(tmp_path, step=7, hashes={"train": "aa"})
    first, second = read_processes(tmp_path)
    assert (first["step"], second["step"]) == (0, 7)
    assert first["hashes"] == {"train": "aa"}
    assert first["versions"].keys() == {"python", "minillm", "torch", "numpy"}
    assert "pytest" in first["command"]
    assert first["started"].endswith("+00:00")
    assert platform.system() in first["machine"]


@pytest.mark.parametrize("content", ["[{", "{}", ""])
def test_damaged_list_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json`: "):
        read_processes(tmp_path)
