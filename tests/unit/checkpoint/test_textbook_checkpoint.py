import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from minillm.config import ModelConfig
from minillm.model import Transformer
from minillm.optim import Muon
from textbook.checkpoint import load_single_file, save_single_file

OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, amsgrad=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1),
    "muon": lambda parameters: Muon(
        [
            {"params": [p for p in parameters if p.ndim == 2]},
            {"params": [p for p in parameters if p.ndim < 2], "update": "adamw"},
        ]
    ),
}


def advance(model, optimizer, steps):
    torch.manual_seed(len(list(model.parameters())))
    for _ in range(steps):
        x = torch.randn(5, 4)

        def closure(x=x):
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean()
            loss.backward()
            return loss.item()

        optimizer.step(closure)


def model_and_optimizer(name, d_out=2):
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, d_out))
    return model, OPTIMIZERS[name](list(model.parameters()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_if_it_had_not_stopped(name, tmp_path):
    model, optimizer = model_and_optimizer(name)
    advance(model, optimizer, 3)
    save_single_file(tmp_path / "a", model=model, optimizer=optimizer, step=3)
    advance(model, optimizer, 3)
    resumed, resumed_optimizer = model_and_optimizer(name)
    assert load_single_file(tmp_path / "a", model=resumed, optimizer=resumed_optimizer) == 3
    advance(resumed, resumed_optimizer, 3)
    for left, right in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_tied_weight_stays_tied(tmp_path):
    shape = {"vocab_size": 11, "d_model": 8, "n_layers": 1, "n_heads": 2, "context_length": 4}
    first, second = (Transformer(ModelConfig(**shape)) for _ in range(2))
    optimizer = torch.optim.SGD(first.parameters())
    save_single_file(str(tmp_path / "a"), model=first, optimizer=optimizer, step=0)
    load_single_file(
        str(tmp_path / "a"), model=second, optimizer=torch.optim.SGD(second.parameters())
    )
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(first(ids), second(ids))


def test_another_shape_is_named_with_the_first_weight(tmp_path):
    model, optimizer = model_and_optimizer("sgd")
    save_single_file(tmp_path / "a", model=model, optimizer=optimizer, step=0)
    other, other_optimizer = model_and_optimizer("sgd", d_out=3)
    with pytest.raises(ValueError, match=r"`2\.weight` is \[2, 4\] in the checkpoint, \[3, 4\]"):
        load_single_file(tmp_path / "a", model=other, optimizer=other_optimizer)


def test_other_files_are_refused(tmp_path):
    model, optimizer = model_and_optimizer("sgd")
    (tmp_path / "text").write_text("no checkpoint at all")
    save_file({"a": torch.ones(2)}, tmp_path / "tensors")
    for name in ("text", "tensors"):
        with pytest.raises(ValueError, match=f"{name}` is no single-file checkpoint"):
            load_single_file(tmp_path / name, model=model, optimizer=optimizer)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    model, optimizer = model_and_optimizer("sgd")
    save_single_file(tmp_path / "a", model=model, optimizer=optimizer, step=7)
    optimizer.param_groups[0]["odd"] = object()
    with pytest.raises(ValueError, match=r"`optimizer\.param_groups\.0\.odd` is a object"):
        save_single_file(tmp_path / "a", model=model, optimizer=optimizer, step=8)
    del optimizer.param_groups[0]["odd"]
    assert load_single_file(tmp_path / "a", model=model, optimizer=optimizer) == 7
