import pytest

from minillm.config import Config, ModelConfig, dump_yaml, load_config


@pytest.mark.parametrize(("depth", "preset"), [(4, "tiny"), (12, "small")])
def test_the_dial_passes_through_presets(depth, preset):
    assert load_config(overrides={"model.depth": str(depth)}) == load_config(model=preset)


@pytest.mark.parametrize("depth", range(1, 41))
def test_every_depth_is_a_model_of_about_64_channels_a_layer(depth):
    model = ModelConfig(depth=depth)
    assert model.n_layers == depth
    assert 64 * depth <= model.d_model < 64 * depth + 128
    assert model.d_head in (64, 128)


def test_a_field_given_beside_the_dial_or_over_it_stays(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("model: {n_heads: 8, depth: 8, d_ff: 100}")
    config = load_config(file=file, overrides={"model.n_layers": "3"}).model
    assert (config.n_heads, config.d_ff, config.n_layers, config.d_model) == (8, 100, 3, 512)


def test_the_dial_replaces_sizes_of_weaker_layers_and_keeps_their_style():
    config = load_config(model="gpt2", overrides={"model.depth": "6"}).model
    assert (config.n_layers, config.d_model, config.d_ff) == (6, 384, 4 * 384)
    assert (config.norm, config.position, config.vocab_size) == ("layernorm", "learned", 50257)
    config = load_config(model="1b", overrides={"model.depth": "8"}).model
    assert (config.n_kv_heads, config.n_heads, config.d_ff) == (4, 4, 1408)


def test_a_saved_file_holds_the_fields_and_not_the_dial(tmp_path):
    config = Config(model=ModelConfig(depth=7))
    file = tmp_path / "a.yaml"
    file.write_text(dump_yaml(config))
    assert "depth" not in file.read_text()
    assert load_config(file=file).model == config.model


@pytest.mark.parametrize("depth", ["0", "-3", "1.5", "deep", "true"])
def test_a_depth_that_is_none_is_refused_by_name(depth):
    with pytest.raises(ValueError, match=r"`model\.depth` on the command line is"):
        load_config(overrides={"model.depth": depth})
