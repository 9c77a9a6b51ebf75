"""How weights start.

Matrices and tables are drawn from a normal distribution with standard deviation `model.init_std`,
cut off at three of them: a rare huge weight would be the loudest one for a long time. What writes
into the residual stream (`o_proj`, `down_proj`) starts smaller by sqrt(2 n_layers), so that the
variance of the stream after its 2 n_layers sums does not depend on depth (Radford et al., GPT-2,
section 2.3). Biases start at 0 and scales at 1: each layer begins as the plain one.

Drawn from PyTorch's global generator, which the caller seeds.
"""

import math

from torch import Tensor, nn

from minillm.config import ModelConfig

DEFAULT_STD = 0.02
"""GPT-2's, for a layer that is built outside of a model."""


def draw(weight: Tensor, std: float) -> None:
    """Fills a weight with normal numbers, none beyond three standard deviations."""
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)


def output_std(config: ModelConfig) -> float:
    """Standard deviation of the weights that write into the residual stream."""
    return config.init_std / math.sqrt(2 * config.n_layers)
