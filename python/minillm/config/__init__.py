"""The configuration tree: frozen pydantic models, files, presets, messages. No torch here."""

from minillm.config.files import dump_yaml, list_presets
from minillm.config.load import load_config
from minillm.config.lora import LoraConfig
from minillm.config.messages import format_validation_error, validated
from minillm.config.model import ModelConfig
from minillm.config.rules import SHORT_FLAGS
from minillm.config.sections import DataConfig, OptimConfig, SampleConfig, TrackConfig, TrainConfig
from minillm.config.tree import Config

__all__ = [
    "SHORT_FLAGS", "Config", "DataConfig", "LoraConfig", "ModelConfig", "OptimConfig",
    "SampleConfig", "TrackConfig", "TrainConfig", "dump_yaml", "format_validation_error",
    "list_presets", "load_config", "validated",
]  # fmt: skip
