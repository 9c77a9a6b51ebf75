import gzip
import json

import pytest
import torch

from minillm.train.profile import WARMUP_STEPS, profiled


@pytest.mark.usefixtures("no_compiler")
def test_trace_holds_the_steps_after_the_warm_up_and_operations_are_listed(tmp_path):
    said = []
    with profiled(tmp_path, 2, torch.device("cpu"), said.append) as profiler:
        for step in range(WARMUP_STEPS + 3):
            torch.ones(8, 8) @ torch.ones(8, 8)
            assert bool(said) == (step > WARMUP_STEPS + 1)
            profiler.step()
    with gzip.open(tmp_path / "profile" / "trace.json.gz") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert names.count("aten::mm") == 2
    assert "profile of 2 steps" in said[0]
    assert any(line.endswith("2 x aten::mm") for line in said[1:])


def test_without_steps_there_is_no_profiler(tmp_path):
    with profiled(tmp_path, 0, torch.device("cpu"), print) as profiler:
        assert profiler is None
