import pytest

from minillm.config import ModelConfig, load_config

REFUSED = {
    "n_experts_per_token (8) must not exceed n_experts (4)": {"n_experts_per_token": 8},
    "n_dense_layers (4) must be less than n_layers (4), or no block holds the n_experts (4)": {
        "n_dense_layers": 4
    },
    "ffn_bias (true) does not go with n_experts (4): experts have no biases": {"ffn_bias": True},
    "router_normalize (true) does not go with n_experts_per_token (1)": {
        "n_experts_per_token": 1,
        "router_normalize": True,
    },
    "balance_rate (0) must be above 0 with balance (bias)": {"balance": "bias", "balance_rate": 0},
    "router_z_loss (0.1) needs router_score softmax": {
        "router_z_loss": 0.1,
        "router_score": "sigmoid",
    },
}


@pytest.mark.parametrize(("message", "fields"), REFUSED.items(), ids=range(len(REFUSED)))
def test_impossible_combinations_are_refused_by_name_and_value(message, fields):
    with pytest.raises(ValueError) as caught:
        ModelConfig(n_experts=4, **fields)
    assert message in str(caught.value)


@pytest.mark.parametrize("fields", REFUSED.values(), ids=range(len(REFUSED)))
def test_a_dense_model_may_hold_settings_of_experts(fields):
    assert ModelConfig(n_experts=0, **fields).n_experts == 0


def test_a_lone_expert_keeps_its_score():
    assert not ModelConfig(n_experts=4, n_experts_per_token=1).router_normalize
    assert ModelConfig(n_experts=4).router_normalize


def test_experts_are_by_default_as_wide_as_the_layer_they_replace():
    sparse = ModelConfig(d_ff=768, n_experts=16, n_experts_per_token=3, n_shared_experts=1)
    assert sparse.d_expert == 192


def test_setting_of_absent_experts_warns():
    with pytest.warns(match="`model.d_expert` has no effect: `model.n_experts` is 0"):
        load_config(model="nano", overrides={"model.d_expert": "64"})
