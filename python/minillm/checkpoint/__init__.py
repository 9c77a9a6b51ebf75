"""Checkpoints that survive whatever happens to the process that writes them."""

from minillm.checkpoint.folder import (
    BEST,
    LATEST,
    Checkpoint,
    CheckpointError,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    remove_temporary,
    rotate_checkpoints,
    save_base,
    save_checkpoint,
    set_aside_after,
    verify_checkpoint,
)
from minillm.checkpoint.tensors import (
    load_model_tensors,
    load_optimizer_tensors,
    load_rng_tensors,
    model_tensors,
    optimizer_tensors,
    rng_tensors,
)

__all__ = [
    "BEST", "LATEST", "Checkpoint", "CheckpointError", "latest_checkpoint", "list_checkpoints",
    "load_checkpoint", "load_model_tensors", "load_optimizer_tensors", "load_rng_tensors",
    "model_tensors", "optimizer_tensors", "remove_temporary", "rng_tensors",
    "rotate_checkpoints", "save_base", "save_checkpoint", "set_aside_after",
    "verify_checkpoint",
]  # fmt: skip
