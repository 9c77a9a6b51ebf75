"""Optimizers written out in the open, learning-rate schedules, gradient clipping."""

from minillm.optim.adamw import AdamW
from minillm.optim.build import build_optimizer, parameter_role
from minillm.optim.clip import clip_grad_norm
from minillm.optim.muon import Muon, orthogonalize
from minillm.optim.schedule import cosine_schedule, set_learning_rate
from minillm.optim.sgd import SGD

__all__ = [
    "SGD", "AdamW", "Muon", "build_optimizer", "clip_grad_norm", "cosine_schedule",
    "orthogonalize", "parameter_role", "set_learning_rate",
]  # fmt: skip
