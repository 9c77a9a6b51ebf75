import pytest
from pydantic import ValidationError

from minillm.config import ModelConfig, flops_per_token, load_config, parameter_count


def test_gpt2_preset_has_the_published_number_of_parameters():
    assert parameter_count(load_config(model="gpt2").model) == 124_439_808


def test_flops_of_gpt2_equal_nanogpts_formula():
    # 6 * (124,439,808 - 1024 * 768 positions - biases and norms) + 12 * 12 * 768 * 1024.
    assert flops_per_token(load_config(model="gpt2").model) == 854_438_400


def test_attention_flops_grow_with_the_sequence():
    model = load_config(model="tiny").model
    difference = flops_per_token(model, 200) - flops_per_token(model, 100)
    assert difference == 12 * 4 * 256 * 100


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
