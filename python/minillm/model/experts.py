"""Mixture of experts: each token goes through a few of many feed-forward layers.

    y = scale * sum over the chosen e of g_e(x) FFN_e(x)  +  FFN_shared(x)

so parameters grow with the number of experts and arithmetic per token does not (Shazeer et al.,
arXiv:1701.06538; Fedus et al., "Switch Transformers", arXiv:2101.03961). The router's scores are a
softmax over the experts, as in Switch and Qwen3-MoE, or a sigmoid of each, as in DeepSeek-V3
(arXiv:2412.19437, section 2.1.2); shared experts, which every token uses, are DeepSeekMoE's
(arXiv:2401.06066).

Nothing makes the router use all experts but what is done about it, and an expert that is never
chosen never learns. `balance: aux` adds a loss that pulls probability away from busy experts;
`balance: bias` moves a bias that counts for the choice and not for the weight, once per optimizer
step (Wang et al., arXiv:2408.15664), which costs the language model no gradient.

Tokens are sorted by expert, so that each expert's matrix product is one block of rows and no token
is dropped or padded. Axes beside the house's: C chosen experts per token, M = N C rows.
"""

import math
from collections.abc import Iterable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model.ffn import FeedForward
from minillm.model.init import draw


def balance_loss(scores: Float[Tensor, "N E"], counts: Int[Tensor, " E"]) -> Float[Tensor, ""]:
    """E sum_e f_e P_e: how much the router favours the experts that are already busy.

    f_e is the share of tokens that chose expert e, and P_e its mean probability (Switch, equations
    4 to 6); only P_e has a gradient. Evenly spread it is C, as in transformers' Qwen3-MoE, and not
    1: there too f sums to C. There however all layers are pooled into one f and one P, where expert
    3 of one layer makes up for expert 3 of another; here each layer is balanced by itself.

    Args:
        scores: Router scores, of which each row is divided by its sum.
        counts: Tokens that chose each expert.
    """
    share = counts / scores.shape[0]  # E
    probability = (scores / scores.sum(-1, keepdim=True)).mean(0)  # E
    return scores.shape[1] * (share * probability).sum()


def router_z_loss(logits: Float[Tensor, "N E"]) -> Float[Tensor, ""]:
    """Mean squared log-normalizer of the softmax (Zoph et al., "ST-MoE", 2202.08906, equation 5).

    A softmax does not see a common shift of its logits; this keeps them from drifting to where
    rounding decides.
    """
    return logits.logsumexp(-1).square().mean()


class Router(nn.Module):
    """Chooses experts for each token, and keeps count.

    Attributes:
        weight: One row per expert, (E D).
        bias: Added to the scores for the choice alone; only with `balance: bias`. Saved.
        load: Tokens that chose each expert since `reset_load`, in training. Not saved: an optimizer
            step begins from 0.
        penalties: Weighted balance and z loss of the last pass in training.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        n_experts = config.n_experts
        self.weight = nn.Parameter(torch.empty(n_experts, config.d_model))
        draw(self.weight, config.init_std)
        self.bias: Tensor | None = (
            nn.Buffer(torch.zeros(n_experts)) if config.balance == "bias" else None
        )
        self.load: Tensor = nn.Buffer(torch.zeros(n_experts), persistent=False)
        self.penalties: Tensor = torch.zeros(2)

    def forward(
        self, x: Float[Tensor, "N D"]
    ) -> tuple[Int[Tensor, "N C"], Float[Tensor, "N C"], Int[Tensor, " E"]]:
        """Experts of each token, their weights (float32), and how many tokens each one gets.

        In float32 also under autocast (Switch, section 2.4): two experts whose bfloat16 scores are
        equal are told apart, and a choice that rounding makes has no gradient.
        """
        config = self.config
        with torch.autocast(x.device.type, enabled=False):
            logits = functional.linear(x.float(), self.weight.float())  # N E
        scores = logits.softmax(-1) if config.router_score == "softmax" else logits.sigmoid()
        ranked = scores if self.bias is None else scores + self.bias
        chosen = ranked.topk(config.n_experts_per_token).indices  # N C
        weights = scores.gather(-1, chosen)  # N C
        if config.router_normalize:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        flat = chosen.flatten()  # M
        counts = flat.new_zeros(config.n_experts).scatter_add_(0, flat, torch.ones_like(flat))  # E
        if self.training:
            self.load.add_(counts)
            balance = z_loss = logits.new_zeros(())
            if config.balance == "aux":
                balance = config.balance_rate * balance_loss(scores, counts)
            if config.router_z_loss:
                z_loss = config.router_z_loss * router_z_loss(logits)
            self.penalties = torch.stack((balance, z_loss))
        return chosen, config.router_scale * weights, counts

    @torch.no_grad()
    def move_bias(self) -> None:
        """b_e += rate * sign(mean load - load_e) (arXiv:2408.15664, algorithm 1)."""
        if self.bias is not None and self.weight.requires_grad:  # else the model is frozen
            self.bias.add_((self.load.mean() - self.load).sign(), alpha=self.config.balance_rate)


class StackedLinear(nn.Module):
    """The same projection of each of E experts, their matrices stacked: (E O I)."""

    def __init__(self, n_experts: int, d_in: int, d_out: int, *, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_experts, d_out, d_in))
        draw(self.weight, std)

    def forward(self, rows: Float[Tensor, "M I"], ends: Int[Tensor, " E"]) -> Float[Tensor, "M O"]:
        """Maps rows `ends[e - 1]` up to `ends[e]` by matrix e."""
        return grouped_linear(rows, self.weight, ends)


class MixtureOfExperts(nn.Module):
    """A router, its experts, and the shared ones."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.router = Router(config)
        stacked = partial(StackedLinear, config.n_experts)
        self.experts = FeedForward(config, config.d_expert, linear=stacked)
        d_shared = config.n_shared_experts * config.d_expert
        self.shared_experts = FeedForward(config, d_shared) if d_shared else None

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Transforms each position by its experts."""
        flat = x.flatten(0, 1)  # N D
        chosen, weights, counts = self.router(flat)
        order = chosen.flatten().argsort(stable=True)  # M: places in N C, sorted by expert
        tokens = order // chosen.shape[1]  # M
        # index_select and index_add: on a CPU `flat[tokens]` goes backward twenty times slower.
        rows = flat.index_select(0, tokens).to(_matmul_dtype(x))  # M D
        rows = self.experts(rows, counts.cumsum(0).int())
        weighted = rows * weights.flatten().index_select(0, order)[:, None]  # M D, float32
        out = torch.zeros_like(flat, dtype=weighted.dtype).index_add(0, tokens, weighted)  # N D
        out = out.to(rows.dtype).view_as(x)  # B T D
        return out if self.shared_experts is None else out + self.shared_experts(x)


def grouped_linear(
    rows: Float[Tensor, "M I"], weights: Float[Tensor, "E O I"], ends: Int[Tensor, " E"]
) -> Float[Tensor, "M O"]:
    """Multiplies rows `ends[e - 1]` up to `ends[e]` by the e-th matrix.

    PyTorch's grouped product where there is one. It reads `ends` on the device and so compiles into
    one graph, and wants rows of whole 16 bytes: others are filled up with zeros. Else it is one
    product per expert, for which the CPU must wait for the device.
    """
    weights = weights.to(rows.dtype)
    if rows.dtype != torch.float64 and rows.device.type in ("cpu", "cuda"):
        d_out, step = weights.shape[1], 16 // rows.element_size()
        n_out, n_in = (-width % step for width in weights.shape[1:])
        if n_out or n_in:
            rows = functional.pad(rows, (0, n_in))
            weights = functional.pad(weights, (0, n_in, 0, n_out))
        product = functional.grouped_mm(rows, weights.mT, offs=ends)
        return product[:, :d_out] if n_out else product
    sizes = ends.diff(prepend=ends.new_zeros(1)).tolist()
    # unbind and not `weights[e]`, each of which has a gradient as large as the whole stack.
    pairs = zip(rows.split(sizes), weights.unbind(), strict=True)
    return torch.cat([functional.linear(piece, weight) for piece, weight in pairs])


def routers(model: nn.Module) -> list[Router]:
    """Of all layers that hold experts."""
    return [module for module in model.modules() if isinstance(module, Router)]


def take_penalty(blocks: Iterable[nn.Module]) -> Tensor | float:
    """Sum of the last balance and z loss, each the mean over the blocks with experts; 0 without."""
    taken = []
    for block in blocks:
        # Not `routers`: a compiler cannot list modules of which it has just seen one change.
        if isinstance(block.ffn, MixtureOfExperts):
            taken.append(block.ffn.router.penalties)
            # Kept for the log alone: a tensor with a graph must not outlive its step.
            block.ffn.router.penalties = taken[-1].detach()
    return torch.stack(taken).mean(0).sum() if taken else 0.0


def reset_load(model: nn.Module) -> None:
    """Begins the count of an optimizer step, of as many micro-steps as it has."""
    for router in routers(model):
        router.load.zero_()


def move_biases(model: nn.Module) -> None:
    """Ends an optimizer step: each loss-free bias moves by the load of all its micro-steps."""
    for router in routers(model):
        router.move_bias()


def load_statistics(model: nn.Module) -> dict[str, float]:
    """How evenly the last optimizer step used its experts; nothing for a dense model.

    Returns:
        `expert_load_max`: load of the busiest expert over the mean, in the worst layer; 1 is even.
        `expert_load_entropy`: entropy of the load over that of an even one, mean of the layers.
        `balance_loss` and `router_z_loss`: what the last micro-step added to its cross-entropy.
    """
    loads = [router.load for router in routers(model)]
    if not loads:
        return {}
    balance, z_loss = torch.stack([router.penalties for router in routers(model)]).mean(0).tolist()
    share = torch.stack(loads) / loads[0].sum()  # layers E
    entropy = -torch.xlogy(share, share).sum(-1).mean()
    n_experts = share.shape[1]
    return {
        "expert_load_max": share.max().item() * n_experts,
        "expert_load_entropy": entropy.item() / math.log(n_experts) if n_experts > 1 else 1.0,
        "balance_loss": balance,
        "router_z_loss": z_loss,
    }


def _matmul_dtype(x: Tensor) -> torch.dtype:
    """What autocast would multiply in; it does not know the grouped product."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
