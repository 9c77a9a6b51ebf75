"""What every section of the configuration tree shares."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from minillm.config.rules import refusal


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys and silent conversions.

    Strict, because a lax model takes `n_layers: true` for 1 and `seed: "7"` for 7, and the mistake
    then shows up far from the file that holds it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if reason := refusal(self):
            raise ValueError(reason)
        return self
