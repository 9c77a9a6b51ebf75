"""Model, optimizer and random generators as flat maps of tensors, and back.

safetensors knows names and tensors and nothing else, which is the point: a checkpoint cannot run
code. So the optimizer's state is stored under the names of the parameters it belongs to, not under
their numbers, and survives a reordering of the model's modules.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from minillm.optim.sharded import shard_like, whole

Tensors = dict[str, Tensor]
SHOWN = 3
"""Differences in a message; another width changes every layer."""


def model_tensors(model: nn.Module) -> Tensors:
    """Every parameter and saved buffer by name; a tied weight once, under its first name.

    Of a model that is frozen in part, as under adapters, only what can learn: the rest is what it
    was. Tensors that are spread over processes are made whole, for which all must ask.
    """
    return {name: whole(tensor.detach()).contiguous() for name, tensor in _named(model).items()}


def load_model_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies `tensors` into `model`, which must have exactly these names and shapes.

    Raises:
        ValueError: Before anything is copied, naming the first tensors that are missing, unknown,
            or of another shape.
    """
    own = _named(model)
    differences = [
        f"weight `{name}` is {_shape(tensors, name)} in the checkpoint, {_shape(own, name)} in the"
        " model"
        for name in [*own, *sorted(set(tensors) - set(own))]
        if _shape(tensors, name) != _shape(own, name)
    ]
    if more := differences[SHOWN:]:
        differences[SHOWN:] = [f"and so for {len(more)} more"]
    if differences:
        raise ValueError("\n".join(differences))
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(shard_like(tensors[name].to(weight.device), weight))


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """The optimizer's state as `parameter.key`, such as `norm.weight.exp_avg`."""
    return {
        f"{name}.{key}": whole(value.detach()).contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Puts back what `optimizer_tensors` took, on the device of each parameter.

    Raises:
        ValueError: Naming a tensor that belongs to no parameter.
    """
    parameters = dict(model.named_parameters())
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition(".")
        if name not in parameters:
            raise ValueError(f"optimizer state `{full_name}` belongs to no parameter of the model")
        parameter = parameters[name]
        # A step count stays where it was: PyTorch's optimizers too keep theirs on the CPU.
        device = parameter.device if tensor.ndim else torch.device("cpu")
        # A copy: safetensors maps the file, which would keep a rotated checkpoint on the disk.
        own = tensor.to(device, copy=True)
        optimizer.state[parameter][key] = shard_like(own, parameter) if tensor.ndim else own


def rng_tensors(device: torch.device) -> Tensors:
    """States of the generators that training draws from: the CPU's and the device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def load_rng_tensors(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Puts the generators back; a run that changes its device starts that one's from its seed."""
    torch.set_rng_state(tensors["cpu"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)
    elif device.type == "mps" and "mps" in tensors:
        torch.mps.set_rng_state(tensors["mps"])


def _named(model: nn.Module) -> dict[str, Tensor]:
    kept = model.state_dict(keep_vars=True)
    if not all(parameter.requires_grad for parameter in model.parameters()):
        kept = {name: tensor for name, tensor in kept.items() if tensor.requires_grad}
    first_name: dict[int, str] = {}
    for name, tensor in kept.items():
        first_name.setdefault(id(tensor), name)
    return {name: kept[name] for name in first_name.values()}


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(list(tensors[name].shape)) if name in tensors else "missing"
