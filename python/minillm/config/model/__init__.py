"""The shape of a model: everything that decides which weights exist and how they are used.

One flat section, `model`, written down in parts: each file holds the fields of one mechanism and
the arithmetic among them; what else does not go together stands in `../rules.yaml`. Widths that
follow from others (`n_kv_heads`, `d_head`, `d_ff`) are filled in when they are absent, so that a
resolved file says every one of them and a later change of the rule cannot change a trained model.
"""

from minillm.config.model.experts import ExpertsConfig
from minillm.config.model.position import PositionConfig
from minillm.config.model.residual import ResidualConfig


# The last base's fields come first: shape, attention, position, feed-forward, experts, residual.
class ModelConfig(ResidualConfig, ExpertsConfig, PositionConfig):
    """Shape of a decoder-only transformer."""
