import os

import pytest
import torch

from minillm.train.device import autocast, choose_device, physical_cores, set_threads


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


def test_auto_prefers_cuda_to_metal(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")


def test_absent_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"train\.device is `cuda`, but PyTorch finds only"):
        choose_device("cuda")


def test_threads_default_to_physical_cores():
    before = torch.get_num_threads()
    try:
        assert set_threads(0) == physical_cores()
        assert set_threads(1) == 1
    finally:
        torch.set_num_threads(before)
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_bfloat16_is_for_products_only():
    weight = torch.ones(2, 2, requires_grad=True)
    with autocast(torch.device("cpu"), "bfloat16"):
        assert (weight @ weight).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "float32"):
        assert (weight @ weight).dtype == torch.float32
