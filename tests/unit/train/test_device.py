import os

import pytest
import torch

from minillm.config import load_config
from minillm.model import flops_per_token
from minillm.train.device import autocast, choose_device, physical_cores, set_threads, usage


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


@pytest.fixture
def on_gpu(monkeypatch):
    """What `usage` says of 1,000 tokens a second on a GPU that reports itself by that name."""

    def use(name, config):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 5)
        return usage(torch.device("cuda"), config, tokens_per_s=1000)

    return use


@pytest.mark.parametrize(
    ("name", "peak", "known"),
    [("NVIDIA H200", 989e12, "h200"), ("NVIDIA A100-SXM4-40GB", 312e12, "a100")],
)
def test_utilization_names_what_it_is_a_share_of(on_gpu, name, peak, known):
    config = load_config(model="1b")
    used = on_gpu(name, config)
    assert used["mfu"] == pytest.approx(1000 * flops_per_token(config.model) / peak, abs=5e-5)
    assert used["mfu_of"] == f"the {peak / 1e12:.0f} TFLOP/s of {known} in dense bfloat16"
    assert used["memory_bytes"] == 5


@pytest.mark.parametrize("name", ["NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090 Laptop GPU"])
def test_unknown_gpu_has_no_utilization(on_gpu, name):
    assert on_gpu(name, load_config()) == {"memory_bytes": 5}


def test_adapters_have_no_utilization(on_gpu):
    config = load_config(overrides={"lora.rank": "4", "train.init_from": "runs/a"})
    assert on_gpu("NVIDIA H200", config) == {"memory_bytes": 5}


def test_cpu_has_its_memory_and_no_utilization():
    used = usage(torch.device("cpu"), load_config(), tokens_per_s=1000)
    assert used.keys() == {"memory_bytes"}
    assert 1e7 < used["memory_bytes"] < 1e12
