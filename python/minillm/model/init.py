"""How weights start.

Matrices and tables are drawn from a normal distribution with standard deviation `model.init_std`,
cut off at three of them: a rare huge weight would be the loudest one for a long time. What writes
into the residual stream (`o_proj`, `down_proj`) starts smaller by sqrt(2 n_layers), so that the
variance of the stream after its 2 n_layers sums does not depend on depth (Radford et al., GPT-2,
section 2.3), or at 0 with `zero_init_outputs`: each block then begins as the identity (Zhang et
al., "Fixup", arXiv:1901.09321; modded-nanogpt). Biases start at 0 and scales at 1.

Drawn from PyTorch's global generator, which the caller seeds.
"""

import math

from torch import Tensor, nn

from minillm.config import ModelConfig

DEFAULT_STD = 0.02
"""GPT-2's, for a layer that is built outside of a model."""


def draw(weight: Tensor, std: float) -> None:
    """Fills a weight with normal numbers, none beyond three standard deviations."""
    if std == 0:  # where the cut-off has no meaning
        nn.init.zeros_(weight)
        return
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)


def output_std(config: ModelConfig) -> float:
    """Standard deviation of the weights that write into the residual stream."""
    return 0.0 if config.zero_init_outputs else config.init_std / math.sqrt(2 * config.n_layers)
