"""The configuration tree: frozen pydantic models, files, presets, messages. No torch here."""

from minillm.config.files import dump_yaml, list_presets
from minillm.config.load import SHORT_FLAGS, load_config
from minillm.config.lora import ALL_LINEAR, LoraConfig
from minillm.config.messages import did_you_mean, format_validation_error
from minillm.config.model import ModelConfig
from minillm.config.sections import DataConfig, OptimConfig, SampleConfig, TrainConfig
from minillm.config.tree import Config

__all__ = [
    "ALL_LINEAR",
    "SHORT_FLAGS",
    "Config",
    "DataConfig",
    "LoraConfig",
    "ModelConfig",
    "OptimConfig",
    "SampleConfig",
    "TrainConfig",
    "did_you_mean",
    "dump_yaml",
    "format_validation_error",
    "list_presets",
    "load_config",
]
