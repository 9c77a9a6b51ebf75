import pytest
from pydantic import ValidationError

from minillm.config import ModelConfig, load_config


@pytest.mark.parametrize(("d_model", "d_ff"), [(256, 704), (512, 1408), (768, 2048), (24, 64)])
def test_swiglu_width_is_two_thirds_of_4d_rounded_up_to_64(d_model, d_ff):
    assert ModelConfig(d_model=d_model, n_heads=1).d_ff == d_ff


def test_plain_ffn_is_4d_wide():
    assert ModelConfig(d_model=24, n_heads=1, ffn="relu2").d_ff == 96


def test_config_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        ModelConfig().d_model = 3


def test_every_field_says_what_it_means():
    sections = [info.annotation for info in type(load_config()).model_fields.values()]
    assert all(field.description for s in sections for field in s.model_fields.values())
