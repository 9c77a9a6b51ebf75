"""The training loop and what stands around it."""

from minillm.train.data import data_vocab_size, open_data
from minillm.train.evaluate import Evaluation, evaluate
from minillm.train.loop import Run, train
from minillm.train.screen import Screen
from minillm.train.session import RunResult, evaluate_run, has_run, train_run
from minillm.train.setup import build_run
from minillm.train.signals import StopRequest
from minillm.train.step import train_step

__all__ = [
    "Evaluation", "Run", "RunResult", "Screen", "StopRequest", "build_run", "data_vocab_size",
    "evaluate", "evaluate_run", "has_run", "open_data", "train", "train_run", "train_step",
]  # fmt: skip
