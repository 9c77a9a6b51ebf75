"""Reaching beyond the context of the training by slowing RoPE's pairs down.

A model has never seen the angles of positions that it was not trained on. To read s times longer
texts, pairs turn more slowly, so that s times longer distances give angles that it knows:

- `linear`: all pairs s times slower (Chen et al., "Position Interpolation", arXiv:2306.15595).
  Neighbours then differ s times less, too.
- `ntk`: theta' = theta s^(d / (d - 2)), so that the slowest pair turns s times slower and the
  fastest, which tells neighbours apart, as before (bloc97; written up in arXiv:2309.00071,
  section 3.1).
- `yarn`: by turns within the old context. Pairs with more than 32 keep their speed, those that do
  not come round once turn s times slower, and a linear ramp over the pairs lies between. Queries
  and keys are lengthened by 0.1 ln s + 1, as attention over more keys must be sharper (Peng et al.,
  "YaRN", arXiv:2309.00071, sections 3.2 to 3.4). The ramp runs over the index of the pair, its ends
  rounded outwards, as in the authors' code and not over the turns as in equation 13. The channels
  that turn are lengthened, as in transformers' Llama; with latent attention all of a head's are, by
  the scale of its scores, as in DeepSeek-V3's code (`mscale` and `mscale_all_dim` 1).
- `llama3`: the same idea with the ramp over the turns, from 1 to 4, and no lengthening (Llama 3.1's
  published code; "The Llama 3 Herd of Models", arXiv:2407.21783, section 3.4.2, trains on).

All work as they are at load time, and better with some training at the longer context.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from minillm.config import ModelConfig
from minillm.model.rope import rope_frequencies


def scaled_frequencies(
    config: ModelConfig, device: torch.device | str = "cpu"
) -> Float[Tensor, " half"]:
    """Radians per position of each channel pair, stretched as the configuration says."""
    d_rope, theta, factor = config.d_rope, config.rope_theta, config.rope_scaling_factor
    if config.rope_scaling == "ntk":
        theta *= factor ** (d_rope / (d_rope - 2))
    frequencies = rope_frequencies(d_rope, theta=theta, device=device)
    if config.rope_scaling in ("none", "ntk"):
        return frequencies
    if config.rope_scaling == "linear":
        return frequencies / factor
    if config.rope_scaling == "yarn":
        low, high = config.rope_yarn_ramp
        first = max(0, math.floor(_pair_with_turns(high, config)))
        last = min(d_rope - 1, math.ceil(_pair_with_turns(low, config)))
        index = torch.arange(d_rope // 2, device=device)
        kept = 1 - (index - first) / max(last - first, 1e-3)
    else:
        low, high = config.rope_llama3_ramp
        turns = config.rope_original_context * frequencies / (2 * math.pi)
        kept = (turns - low) / (high - low)
    kept = kept.clamp(0, 1)  # share of its old speed that a pair keeps
    return frequencies * (kept + (1 - kept) / factor)


def yarn_magnitude(config: ModelConfig) -> float:
    """Factor of the lengths of queries and keys (YaRN, section 3.4); 1 for other scalings."""
    is_yarn = config.rope_scaling == "yarn"
    return 0.1 * math.log(config.rope_scaling_factor) + 1 if is_yarn else 1.0


def _pair_with_turns(turns: float, config: ModelConfig) -> float:
    """Which pair, by its index, comes round this often within the old context."""
    ratio = config.rope_original_context / (2 * math.pi * turns)
    return config.d_rope * math.log(ratio) / (2 * math.log(config.rope_theta))
