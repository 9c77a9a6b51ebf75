import pytest

from minillm.config import Config, LoraConfig, ModelConfig
from minillm.config.load import FIELDS
from minillm.config.model.experts import ExpertsConfig
from minillm.config.rules import _RULES, NEEDS


def test_rules_are_about_fields_that_exist():
    known = {"Config": FIELDS, "ModelConfig": ModelConfig.model_fields}
    for section, rules in _RULES["refused"].items():
        assert {field for rule in rules for field in rule["when"]} <= set(known[section])
    assert NEEDS.keys() <= set(FIELDS)
    assert {other for other, _ in NEEDS.values()} <= set(FIELDS)


def test_what_belongs_to_experts_and_adapters_idles_without_them():
    names = {f"model.{name}" for name in ExpertsConfig.__annotations__} - {"model.n_experts"}
    assert all(NEEDS[name] == ("model.n_experts", []) for name in names)
    names = {f"lora.{name}" for name in LoraConfig.model_fields} - {"lora.rank"}
    assert all(NEEDS[name] == ("lora.rank", []) for name in names)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention": "mla", "d_head_v": 0}, "d_head_v (0) must be 1 or above"),
        ({"attention_softcap": 30.0}, "attention_softcap (30) needs attention_backend flex or"),
        ({"rope_scaling": "yarn"}, "must be above 1 with rope_scaling (yarn): it says how"),
        ({"rope_scaling": "yarn", "position": "nope"}, "needs position rope, not nope"),
    ],
)
def test_values_that_clash_are_told_on_one_line(fields, message):
    with pytest.raises(ValueError) as caught:
        ModelConfig(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value.errors()[0]["ctx"]["error"])


def test_values_of_two_sections_that_clash_are_told():
    with pytest.raises(
        ValueError, match=r"data.stride \(300\) must not exceed train.seq_len \(256"
    ):
        Config(data={"stride": 300})
