"""The whole configuration of a run."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from minillm.config.lora import LoraConfig
from minillm.config.model import ModelConfig
from minillm.config.section import Section
from minillm.config.sections import DataConfig, OptimConfig, SampleConfig, TrackConfig, TrainConfig


class Config(Section):
    """One tree: what the model is, what it reads, how it is trained and sampled."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """shape of the model"""
    data: DataConfig = Field(default_factory=DataConfig)
    """where the tokens are"""
    optim: OptimConfig = Field(default_factory=OptimConfig)
    """optimizer and schedule"""
    train: TrainConfig = Field(default_factory=dict, validate_default=True)
    """the training loop"""
    lora: LoraConfig = Field(default_factory=LoraConfig)
    """adapters to train instead"""
    track: TrackConfig = Field(default_factory=TrackConfig)
    """where metrics go besides"""
    sample: SampleConfig = Field(default_factory=SampleConfig)
    """sampling of text"""

    @field_validator("train", mode="before")
    @classmethod
    def _fill_seq_len(cls, train: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - still raw
        """Lets `seq_len` default to the model's limit, which the section alone cannot know."""
        model = info.data.get("model")
        if isinstance(train, Mapping) and "seq_len" not in train and model is not None:
            return {**train, "seq_len": model.context_length}
        return train
