"""Optimizers written out in the open, learning-rate schedules, gradient clipping."""

from minillm.optim.adamw import AdamW
from minillm.optim.build import build_optimizer, parameter_role
from minillm.optim.clip import clip_grad_norm
from minillm.optim.muon import Muon, orthogonalize
from minillm.optim.schedule import (
    constant_schedule,
    cosine_schedule,
    scheduled_learning_rate,
    set_learning_rate,
    wsd_schedule,
)
from minillm.optim.sgd import SGD

__all__ = [
    "SGD", "AdamW", "Muon", "build_optimizer", "clip_grad_norm", "constant_schedule",
    "cosine_schedule", "orthogonalize", "parameter_role", "scheduled_learning_rate",
    "set_learning_rate", "wsd_schedule",
]  # fmt: skip
