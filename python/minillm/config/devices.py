"""Published figures of devices: what a plan counts with, and what a utilization is a share of."""

from typing import NamedTuple


class Device(NamedTuple):
    """Dense products a second in each dtype, and memory.

    `reported_as` is the name, as a shell pattern, by which PyTorch knows it.
    """

    reported_as: str
    bfloat16_flops_per_s: float
    float32_flops_per_s: float
    memory_bytes: float


DEVICES = {
    "h200": Device("NVIDIA H200", 989e12, 67e12, 141e9),
    "h100": Device("NVIDIA H100 80GB HBM3", 989e12, 67e12, 80e9),  # others are slower
    "a100": Device("NVIDIA A100*", 312e12, 19.5e12, 80e9),
    "rtx4090": Device("NVIDIA GeForce RTX 4090", 165e12, 82.6e12, 24e9),
    "rtx3090": Device("NVIDIA GeForce RTX 3090", 71e12, 35.6e12, 24e9),
    # 8 cores, 3 GHz, two fused multiply-adds of 8 floats a cycle; bfloat16 is no faster there.
    "laptop": Device("", 0.77e12, 0.77e12, 16e9),
}
