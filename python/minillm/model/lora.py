"""Low-rank adaptation: a model is fine-tuned by small changes beside frozen weights.

A frozen weight W (O x I) is used as W + s B A, where A is R x I and B is O x R, and only A and B
learn (Hu et al., "LoRA", arXiv:2106.09685, section 4.1). B starts at 0, so the adapted model starts
as the model it adapts. The factor s is alpha / R, or alpha / sqrt(R) so that a higher rank does not
learn more slowly (Kalajdzievski, "rsLoRA", arXiv:2312.03732). DoRA learns the length of each row
beside its direction (Liu et al., arXiv:2402.09353, equation 5):

    W' = m (W + s B A) / |W + s B A|,    m starting as |W|, the length not part of the gradient

An adapted layer is the plain one with another class, so that weight, name and ties stay what they
are; its adapters lie below it, as `q_proj.adapters.NAME.lora_A`. Several can be there, one is
active. A stack of experts has a stack of factors. Where a table is looked up, a row is an input:
there W is the table's transpose, as in PEFT's files.

Merging writes W' into the weight and keeps W aside: unmerging brings it back to the last bit.
"""

import math
import re
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import LoraConfig
from minillm.config.lora import ALL_LINEAR
from minillm.config.messages import did_you_mean
from minillm.model.experts import StackedLinear, grouped_linear
from minillm.model.layers import Embedding, Linear, linear

ADAPTER = "default"
"""Name of a run's own adapter; PEFT's, too, for the only one."""


class Adapter(nn.Module):
    """The two factors for one weight, and for DoRA the lengths of its rows."""

    def __init__(
        self, weight: Float[Tensor, "*E O I"], config: LoraConfig, *, bound: float
    ) -> None:
        """Starts as no change, with A drawn from PyTorch's global generator up to `bound`."""
        super().__init__()
        *stack, d_out, d_in = weight.shape
        self.lora_A = nn.Parameter(weight.new_empty(*stack, config.rank, d_in))
        self.lora_B = nn.Parameter(weight.new_zeros(*stack, d_out, config.rank))
        nn.init.uniform_(self.lora_A, -bound, bound)
        lengths = weight.detach().norm(dim=-1)
        self.magnitude = nn.Parameter(lengths.contiguous()) if config.kind == "dora" else None
        self.scale = config.scale
        self.dropout = nn.Dropout(config.dropout)

    def change(self) -> Float[Tensor, "*E O I"]:
        """The change to the weight, s B A."""
        return self.scale * (self.lora_B @ self.lora_A)

    def stretch(self, weight: Float[Tensor, "*E O I"]) -> Float[Tensor, "*E O"] | None:
        """DoRA's factor of each row: m over the length of W + s B A, a constant to the gradient."""
        if self.magnitude is None:
            return None
        lengths: Tensor = (weight + self.change()).detach().norm(dim=-1)
        return self.magnitude / lengths


class Adapted(nn.Module):
    """What the adapted layers share: adapters by name, the active one, and merging.

    Attributes:
        adapters: Of each name, an `Adapter`.
        active: The one in effect, if any.
        unmerged: The weight as it was, while the active adapter is merged into it.
    """

    weight: nn.Parameter
    adapters: nn.ModuleDict
    active: str | None
    unmerged: Tensor | None
    is_table = False

    @property
    def adapter(self) -> Adapter | None:
        """The one to compute with: none if none is active, or its change is in the weight."""
        if self.active is None or self.unmerged is not None:
            return None
        return cast("Adapter", self.adapters[self.active])

    @property
    def oriented(self) -> Float[Tensor, "*E O I"]:
        """The weight with a row for each output."""
        return self.weight.mT if self.is_table else self.weight

    def matrix(self) -> Float[Tensor, "..."]:
        """The weight in effect, W'."""
        if self.adapter is None:
            return self.weight
        matrix = self.oriented + self.adapter.change()
        stretch = self.adapter.stretch(self.oriented)
        matrix = matrix if stretch is None else matrix * stretch[..., None]
        return matrix.mT if self.is_table else matrix


class LoraLinear(Adapted, Linear):
    """A linear map with adapters."""

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """Computes x W'^T + b, without making W'."""
        adapter = self.adapter
        if adapter is None:
            return linear(x, self.weight, self.bias)
        low = linear(adapter.dropout(x), adapter.lora_A)  # *B R
        y = linear(x, self.weight) + adapter.scale * linear(low, adapter.lora_B)  # *B O
        stretch = adapter.stretch(self.weight)  # O
        y = y if stretch is None else y * stretch.to(y.dtype)
        return y if self.bias is None else y + self.bias.to(y.dtype)


class LoraStack(Adapted, StackedLinear):
    """A projection of all experts with adapters."""

    def forward(self, rows: Float[Tensor, "M I"], ends: Int[Tensor, " E"]) -> Float[Tensor, "M O"]:
        """Maps each expert's rows by its W', without making it."""
        y = grouped_linear(rows, self.weight, ends)  # M O
        adapter = self.adapter
        if adapter is None:
            return y
        low = grouped_linear(adapter.dropout(rows), adapter.lora_A, ends)  # M R
        y = y + adapter.scale * grouped_linear(low, adapter.lora_B, ends)
        stretch = adapter.stretch(self.weight)  # E O
        if stretch is None:
            return y
        sizes = ends.diff(prepend=ends.new_zeros(1))  # E
        return y * stretch.to(y.dtype).repeat_interleave(sizes, dim=0, output_size=len(y))


class LoraEmbedding(Adapted, Embedding):
    """A table with adapters; where it is the head, too, that changes with it."""

    is_table = True

    def forward(self, ids: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """Looks each id up."""
        x = functional.embedding(ids, self.weight)  # *B D
        adapter = self.adapter
        if adapter is None:
            return x
        low = adapter.dropout(functional.embedding(ids, adapter.lora_A.mT))  # *B R
        x = x + adapter.scale * linear(low, adapter.lora_B)
        stretch = adapter.stretch(self.oriented)  # D
        return x if stretch is None else x * stretch

    def unembed(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Scores of every row of W'."""
        adapter = self.adapter
        if adapter is None:
            return linear(x, self.weight)
        stretch = adapter.stretch(self.oriented)  # D
        x = x if stretch is None else x * stretch.to(x.dtype)
        low = linear(x, adapter.lora_B.mT)  # *B R
        return linear(x, self.weight) + adapter.scale * linear(low, adapter.lora_A.mT)


_ADAPTED: dict[type[nn.Module], type[Adapted]] = {
    Linear: LoraLinear,
    StackedLinear: LoraStack,
    Embedding: LoraEmbedding,
}


def add_adapter(model: nn.Module, name: str, config: LoraConfig) -> None:
    """Lays a fresh adapter beside each target, makes it the active one, and freezes all else.

    Raises:
        ValueError: If the name is taken or holds odd characters, or a target fits no layer.
    """
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"adapter name {name!r} is not made of letters, digits and underscores")
    if name in adapter_names(model):
        raise ValueError(f"the model has an adapter `{name}` already")
    for path in _targets(model, config):
        layer = cast("Adapted", model.get_submodule(path))
        if type(layer) in _ADAPTED:
            layer.__class__ = _ADAPTED[type(layer)]
            layer.adapters, layer.active, layer.unmerged = nn.ModuleDict(), None, None
        bound = 1.0 if layer.is_table else 1 / math.sqrt(layer.weight.shape[-1])
        # `adapters[name] = ` would refuse names of the dictionary's own methods, such as `keys`.
        layer.adapters._modules[name] = Adapter(layer.oriented, config, bound=bound)
    use_adapter(model, name)


def adapter_names(model: nn.Module) -> list[str]:
    """The adapters of a model, in the order in which they came."""
    return list(dict.fromkeys(name for layer in _adapted(model) for name in layer.adapters))


def use_adapter(model: nn.Module, name: str | None) -> None:
    """Makes one adapter the active and learning one; with `None`, the model is as it was before.

    Raises:
        ValueError: If there is no such adapter, or another one is merged into the weights.
    """
    known = adapter_names(model)
    if name is not None and name not in known:
        raise ValueError(f"the model has no adapter `{name}`" + did_you_mean(name, known))
    layers = _adapted(model)
    if merged := [layer.active for layer in layers if layer.unmerged is not None]:
        raise ValueError(f"adapter `{merged[0]}` is merged: unmerge it first")
    model.requires_grad_(False)
    for layer in layers:
        layer.active = name if name is not None and name in layer.adapters else None
        if layer.adapter is not None:
            layer.adapter.requires_grad_(True)


@torch.no_grad()
def merge_adapter(model: nn.Module) -> None:
    """Writes the active adapter into the weights. A second call changes nothing."""
    for layer in _adapted(model):
        if layer.adapter is not None:
            merged, layer.unmerged = layer.matrix(), layer.weight.detach().clone()
            layer.weight.copy_(merged)


@torch.no_grad()
def unmerge_adapter(model: nn.Module) -> None:
    """Brings the weights back as they were, to the last bit, if an adapter is merged."""
    for layer in _adapted(model):
        if layer.unmerged is not None:
            layer.weight.copy_(layer.unmerged)
            layer.unmerged = None


def fold_adapter(model: nn.Module) -> None:
    """Merges the active adapter for good: what is left is a plain model, all of which can learn."""
    merge_adapter(model)
    for layer in _adapted(model):
        del layer.adapters, layer.active, layer.unmerged
        layer.__class__ = type(layer).__bases__[1]
    model.requires_grad_(True)


def _adapted(model: nn.Module) -> list[Adapted]:
    return [layer for layer in model.modules() if isinstance(layer, Adapted)]


def _targets(model: nn.Module, config: LoraConfig) -> list[str]:
    """Paths of the layers that the targets name.

    Raises:
        ValueError: Naming a target that fits no layer.
    """
    kinds = (*_ADAPTED, Adapted)
    layers = [path for path, layer in model.named_modules() if isinstance(layer, kinds)]
    chosen: dict[str, None] = {}
    for target in config.targets:
        fitting = [path for path in layers if _fits(path, target)]
        if not fitting:
            leaves = list(dict.fromkeys(path.rpartition(".")[2] for path in layers))
            raise ValueError(
                f"lora.targets: the model has no `{target}`, expected {ALL_LINEAR},"
                f" {', '.join(leaves)}, or one layer's path such as `{layers[-1]}`"
                + did_you_mean(target, [*leaves, *layers])
            )
        chosen.update(dict.fromkeys(fitting))
    return list(chosen)


def _fits(path: str, target: str) -> bool:
    if target == ALL_LINEAR:
        return path.startswith("layers.") and path.endswith("_proj")
    return path == target or path.endswith(f".{target}")
