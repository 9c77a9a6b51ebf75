"""From a model and a configuration to an optimizer, each parameter in the group of its role."""

from typing import Any, Literal

import torch
from torch import nn

from minillm.config import OptimConfig
from minillm.optim.adamw import AdamW
from minillm.optim.muon import Muon
from minillm.optim.sgd import SGD

Role = Literal["matrix", "table", "vector"]


def parameter_role(name: str, parameter: nn.Parameter) -> Role:
    """What a parameter does: map between spaces, hold a row per token, or scale and shift.

    Tables are the embeddings, the output head and routers, known by their names: their rows belong
    to tokens or experts, and a batch touches them by how often one occurs. (marin's published
    experiments leave routers to Adam: an update of fixed norm made them a little worse.) A stack
    of experts' matrices is a matrix: what is done to the last two axes is done to each.
    """
    if parameter.ndim < 2:
        return "vector"
    is_table = any(part in name for part in ("embed", "lm_head", "router"))
    return "table" if is_table else "matrix"


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer of a configuration, with one group per role.

    Matrices and tables decay; vectors do not, as a norm's scale has no reason to shrink and a bias
    costs nothing. Each group carries its `role`, and its `max_lr` for the schedule.
    """
    by_role: dict[Role, list[nn.Parameter]] = {"matrix": [], "table": [], "vector": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_role[parameter_role(name, parameter)].append(parameter)
    groups = [
        {"params": params, **_options(role, config)} for role, params in by_role.items() if params
    ]
    if config.name == "adamw":
        return AdamW(groups, betas=config.betas, eps=config.eps, fused=config.fused)
    if config.name == "sgd":
        return SGD(groups, momentum=config.momentum)
    return Muon(
        groups,
        momentum=config.momentum,
        betas=config.betas,
        eps=config.eps,
        row_decay=config.betas[1] if config.name == "normuon" else 0.0,
        fused=config.fused,
    )


def _options(role: Role, config: OptimConfig) -> dict[str, Any]:
    lr = config.learning_rate
    options: dict[str, Any] = {"role": role}
    if config.name in ("muon", "normuon"):
        options["update"] = "muon" if role == "matrix" else "adamw"
        lr = config.learning_rate if role == "matrix" else config.adamw_learning_rate
    weight_decay = 0.0 if role == "vector" else config.weight_decay
    return options | {"lr": lr, "max_lr": lr, "weight_decay": weight_decay}
