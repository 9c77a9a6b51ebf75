"""Low-rank adaptation: a model is fine-tuned by small changes beside frozen weights.

A frozen weight W (O x I) is used as W + s B A, where A is R x I and B is O x R, and only A and B
learn (Hu et al., "LoRA", arXiv:2106.09685, section 4.1). B starts at 0, so the adapted model starts
as the model it adapts. The factor s is alpha / R, or alpha / sqrt(R) so that a higher rank does not
learn more slowly (Kalajdzievski, "rsLoRA", arXiv:2312.03732). DoRA learns the length of each row
beside its direction (Liu et al., arXiv:2402.09353, equation 5):

    W' = m (W + s B A) / |W + s B A|,    m starting as |W|, the length not part of the gradient

An adapted layer takes the place of the plain one and keeps its weight under the same name; its
adapters lie below it, as `q_proj.adapters.NAME.lora_A`. Several can be there, one is active.
Merging writes W' into the weight and keeps W aside: unmerging brings it back to the last bit.
"""

import math
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ALL_LINEAR, LoraConfig, did_you_mean
from minillm.model.layers import Embedding, Linear


class Adapter(nn.Module):
    """The two factors for one weight, and for DoRA the lengths of its rows."""

    def __init__(self, weight: Tensor, config: LoraConfig, *, rows_in: bool = False) -> None:
        """Starts as no change.

        Args:
            weight: What is adapted, (..., O, I); leading axes are a stack of matrices.
            config: Shape of the adapter.
            rows_in: Whether a row is an input, as in an embedding's V x D. The factors belong to
                its transpose, as in PEFT's files.
        """
        super().__init__()
        *stack, d_out, d_in = weight.mT.shape if rows_in else weight.shape
        self.lora_A = nn.Parameter(weight.new_empty(*stack, config.rank, d_in))
        self.lora_B = nn.Parameter(weight.new_zeros(*stack, d_out, config.rank))
        nn.init.uniform_(self.lora_A, -1 / math.sqrt(d_in), 1 / math.sqrt(d_in))
        self.magnitude = (
            nn.Parameter(weight.detach().norm(dim=-1).clone()) if config.kind == "dora" else None
        )
        self.config = config
        self.dropout = nn.Dropout(config.dropout)

    def change(self) -> Float[Tensor, "*E O I"]:
        """The change to the weight, s B A."""
        return self.config.scale * (self.lora_B @ self.lora_A)

    def stretch(self, weight: Float[Tensor, "*E O I"]) -> Float[Tensor, "*E O"]:
        """DoRA's factor of each row: m over the length of W + s B A, a constant to the gradient."""
        length = (weight + self.change()).norm(dim=-1).detach()  # *E O
        stretch: Tensor = self.magnitude / length
        return stretch


class Adapted(nn.Module):
    """What the adapted layers share: adapters by name, the active one, and merging."""

    weight: nn.Parameter
    rows_in = False

    def _adopt(self, plain: nn.Module) -> None:
        """Takes over all of a layer, its parameters themselves, so that ties and names stay."""
        self.__dict__.update(plain.__dict__)
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self._unmerged: Tensor | None = None

    @property
    def adapter(self) -> Adapter | None:
        """The one to compute with: none if none is active, or its change is in the weight."""
        if self.active is None or self._unmerged is not None:
            return None
        return cast("Adapter", self.adapters[self.active])

    def matrix(self) -> Tensor:
        """The weight in effect, W'."""
        adapter = self.adapter
        if adapter is None:
            return self.weight
        change = adapter.change()
        changed = self.weight + (change.mT if self.rows_in else change)
        if adapter.magnitude is not None:
            changed = changed * adapter.stretch(self.weight)[..., None]
        return changed

    def add(self, name: str, config: LoraConfig) -> None:
        """Lays a fresh adapter beside the weight."""
        self.adapters[name] = Adapter(self.weight, config, rows_in=self.rows_in)

    @torch.no_grad()
    def merge(self) -> None:
        """Writes the active adapter into the weight; does nothing if that was done."""
        if self._unmerged is None and self.active is not None:
            merged = self.matrix()
            self._unmerged = self.weight.detach().clone()
            self.weight.copy_(merged)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Brings the weight back as it was; does nothing if nothing is merged."""
        if self._unmerged is not None:
            self.weight.copy_(self._unmerged)
            self._unmerged = None


class LoraLinear(Adapted, Linear):
    """A linear map with adapters."""

    def __init__(self, plain: Linear) -> None:
        self._adopt(plain)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """Computes x W'^T + b, without making W'."""
        adapter = self.adapter
        if adapter is None:
            return Linear.forward(self, x)
        low = functional.linear(adapter.dropout(x), adapter.lora_A)  # *B R
        y = functional.linear(x, self.weight)  # *B O
        y = y + adapter.config.scale * functional.linear(low, adapter.lora_B)
        if adapter.magnitude is not None:
            y = y * adapter.stretch(self.weight)
        return y if self.bias is None else y + self.bias


class LoraEmbedding(Adapted, Embedding):
    """A table with adapters; its factors are those of the transposed table, D x V."""

    rows_in = True

    def __init__(self, plain: Embedding) -> None:
        self._adopt(plain)

    def forward(self, ids: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """Looks each id up."""
        x = Embedding.forward(self, ids)
        adapter = self.adapter
        if adapter is None:
            return x
        low = functional.embedding(ids, adapter.lora_A.mT)  # *B R
        return x + adapter.config.scale * functional.linear(low, adapter.lora_B)

    def unembed(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """A tied head is the same table, so it changes with it."""
        logits = Embedding.unembed(self, x)
        adapter = self.adapter
        if adapter is None:
            return logits
        return logits + adapter.config.scale * (x @ adapter.lora_B @ adapter.lora_A)


ADAPTED: dict[type[nn.Module], type[Adapted]] = {Linear: LoraLinear, Embedding: LoraEmbedding}
"""What takes the place of each kind of layer."""


def adapted_layers(model: nn.Module) -> dict[str, Adapted]:
    """The layers that have adapters, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Adapted)}


def add_adapter(model: nn.Module, name: str, config: LoraConfig) -> list[str]:
    """Lays a fresh adapter beside each target, makes it the active one, and freezes all else.

    Factors are drawn from PyTorch's global generator.

    Returns:
        The adapted layers.

    Raises:
        ValueError: If the name is taken or no name for a module, or a target fits no layer.
    """
    if not name.isidentifier():
        raise ValueError(f"adapter name {name!r} is not made of letters, digits and underscores")
    if name in adapter_names(model):
        raise ValueError(f"the model has an adapter `{name}` already")
    chosen = _targets(model, config)
    for path in chosen:
        layer = model.get_submodule(path)
        if not isinstance(layer, Adapted):
            layer = ADAPTED[type(layer)](layer)
            model.set_submodule(path, layer)
        layer.add(name, config)
    use_adapter(model, name)
    return chosen


def adapter_names(model: nn.Module) -> list[str]:
    """The adapters of a model, in the order in which they came."""
    return list(dict.fromkeys(name for a in adapted_layers(model).values() for name in a.adapters))


def use_adapter(model: nn.Module, name: str | None) -> None:
    """Makes one adapter the active and learning one; with `None`, the model is as it was before.

    Raises:
        ValueError: If there is no such adapter, or another one is merged into the weights.
    """
    if name is not None and name not in adapter_names(model):
        known = adapter_names(model)
        raise ValueError(f"the model has no adapter `{name}`" + did_you_mean(name, known))
    for layer in adapted_layers(model).values():
        if layer._unmerged is not None:
            raise ValueError(f"adapter `{layer.active}` is merged: unmerge it first")
        layer.active = name if name is not None and name in layer.adapters else None
    learning = {id(parameter) for parameter in adapter_parameters(model, name).values()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in learning)


def adapter_parameters(model: nn.Module, name: str | None) -> dict[str, nn.Parameter]:
    """What an adapter has learned, as `layers.0.attention.q_proj.lora_A`."""
    return {
        f"{path}.{key}": parameter
        for path, layer in adapted_layers(model).items()
        if name is not None and name in layer.adapters
        for key, parameter in layer.adapters[name].named_parameters()
    }


def merge_adapter(model: nn.Module) -> None:
    """Writes the active adapter into the weights. A second call changes nothing."""
    for layer in adapted_layers(model).values():
        layer.merge()


def unmerge_adapter(model: nn.Module) -> None:
    """Takes it out again, to the last bit."""
    for layer in adapted_layers(model).values():
        layer.unmerge()


def _targets(model: nn.Module, config: LoraConfig) -> list[str]:
    """Paths of the layers that the targets name.

    Raises:
        ValueError: Naming a target that fits no layer.
    """
    layers = {
        path: layer
        for path, layer in model.named_modules()
        if type(layer) in ADAPTED or isinstance(layer, Adapted)
    }
    chosen: dict[str, None] = {}
    for target in config.targets:
        fitting = [path for path in layers if _fits(path, target)]
        if not fitting:
            leaves = dict.fromkeys(path.rpartition(".")[2] for path in layers)
            raise ValueError(
                f"lora.targets: the model has no `{target}`, expected {ALL_LINEAR},"
                f" {', '.join(leaves)}, or one layer's path such as `{next(iter(layers))}`"
                + did_you_mean(target, leaves)
            )
        chosen.update(dict.fromkeys(fitting))
    return list(chosen)


def _fits(path: str, target: str) -> bool:
    if target == ALL_LINEAR:
        return path.startswith("layers.") and path.endswith("_proj")
    return path == target or path.endswith(f".{target}")
