import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm.checkpoint import (
    load_model_tensors,
    load_optimizer_tensors,
    load_rng_tensors,
    model_tensors,
    optimizer_tensors,
    rng_tensors,
)
from minillm.config import ModelConfig
from minillm.model import Transformer


def build(**changes):
    shape = {"vocab_size": 11, "d_model": 8, "n_layers": 1, "n_heads": 2, "context_length": 4}
    return Transformer(ModelConfig(**(shape | changes)))


@pytest.mark.parametrize("tied", [True, False])
def test_weights_come_back(tied):
    source, target = build(tie_embeddings=tied), build(tie_embeddings=tied)
    load_model_tensors(target, model_tensors(source))
    for left, right in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(left, right)


def test_missing_weight_is_named():
    tensors = model_tensors(build())
    del tensors["norm.weight"]
    with pytest.raises(ValueError, match=r"^weight `norm\.weight` is missing in the checkpoint, "):
        load_model_tensors(build(), tensors)


def test_unknown_weight_is_named():
    tensors = model_tensors(build(tie_embeddings=False))
    expected = r"^weight `lm_head\.weight` is \[11, 8\] in the checkpoint, missing in the model$"
    with pytest.raises(ValueError, match=expected):
        load_model_tensors(build(tie_embeddings=True), tensors)


def test_weight_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"`embed_tokens\.weight` is \[11, 8\] in the checkpoint"):
        load_model_tensors(build(vocab_size=12), model_tensors(build()))


def test_first_of_many_differences_are_named_and_nothing_is_copied():
    source, target = build(d_ff=16, tie_embeddings=False), build(d_ff=24)
    tensors = model_tensors(source)
    del tensors["norm.weight"]
    before = {name: tensor.clone() for name, tensor in model_tensors(target).items()}
    with pytest.raises(ValueError) as caught:
        load_model_tensors(target, tensors)
    assert str(caught.value).splitlines() == [
        *(
            f"weight `layers.0.ffn.{name}_proj.weight` is {theirs} in the checkpoint, {ours} in the"
            " model"
            for name, theirs, ours in (
                ("gate", [16, 8], [24, 8]),
                ("up", [16, 8], [24, 8]),
                ("down", [8, 16], [8, 24]),
            )
        ),
        "and so for 2 more",
    ]
    after = model_tensors(target)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_optimizer_state_goes_by_name():
    model = build()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    optimizer.step()
    tensors = optimizer_tensors(model, optimizer)
    assert "norm.weight.exp_avg" in tensors

    fresh = torch.optim.AdamW(reversed(list(model.parameters())))
    load_optimizer_tensors(model, fresh, tensors)
    for parameter in model.parameters():
        for key, value in optimizer.state[parameter].items():
            assert torch.equal(fresh.state[parameter][key], value)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_optimizer_state_is_a_copy_of_the_checkpoint(tmp_path):
    """Else the mapped file of a checkpoint that is rotated away would stay on the disk."""
    model = build()
    optimizer = torch.optim.SGD(model.parameters())
    path = tmp_path / "optimizer.safetensors"
    save_file({"norm.weight.velocity": torch.ones(8)}, path)
    load_optimizer_tensors(model, optimizer, load_file(path))
    assert optimizer.state[model.norm.weight]["velocity"].tolist() == [1.0] * 8
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_optimizer_state_of_no_parameter_is_named():
    model = build()
    with pytest.raises(ValueError, match=r"`gone\.exp_avg` belongs to no parameter"):
        load_optimizer_tensors(model, torch.optim.SGD(model.parameters()), {"gone.exp_avg": 0})


def test_generator_goes_on_where_it_was():
    cpu = torch.device("cpu")
    states = rng_tensors(cpu)
    expected = torch.rand(5)
    load_rng_tensors(states, cpu)
    assert torch.equal(torch.rand(5), expected)
