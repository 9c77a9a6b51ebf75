"""Runs that train an adapter: what they write, how they go on, and what becomes of them."""

import io
import json

import pytest
import torch

from minillm import messages
from minillm.checkpoint import latest_checkpoint
from minillm.cli import build_app
from minillm.config import load_config
from minillm.infer import load_run
from minillm.interop import write_run
from minillm.pretrain import run
from minillm.train import loop


@pytest.fixture
def base(trained_copy):
    """A run to adapt."""
    return trained_copy("base", train__max_train_steps="4", train__generate_interval="0")


@pytest.fixture
def adapted(base, make_config):
    def make(**changes):
        settings = {
            "train__init_from": str(base),
            "lora__rank": "4",
            "lora__dropout": "0.1",
            **changes,
        }
        return make_config(**settings)

    return make


def test_only_the_adapter_is_in_optimizer_and_checkpoint(adapted):
    config = adapted()
    run(config, resume=False, eval_only=False, quiet=True)
    checkpoint, _ = latest_checkpoint(config.train.out_dir)
    learned = checkpoint.tensors("model")
    assert learned
    assert all(".adapters.default.lora_" in name for name in learned)
    assert all(".adapters.default.lora_" in name for name in checkpoint.tensors("optimizer"))
    assert any(bool(tensor.any()) for name, tensor in learned.items() if name.endswith("B"))


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_resumed_adapter_is_bit_equal_to_the_unbroken_one(adapted, tmp_path, monkeypatch, kind):
    whole = adapted(train__out_dir=str(tmp_path / "whole"), lora__kind=kind)
    run(whole, resume=False, eval_only=False, quiet=True)
    options = {"lora__kind": kind, "train__out_dir": str(tmp_path / "broken")}
    first = adapted(**options, train__save_interval="4")
    train_step = loop.train_step

    def dies(run):
        if run.step == 9:
            raise KeyboardInterrupt
        return train_step(run)

    monkeypatch.setattr(loop, "train_step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(first, resume=False, eval_only=False, quiet=True)
    monkeypatch.setattr(loop, "train_step", train_step)
    run(first, resume=True, eval_only=False, quiet=True)
    one, other = (
        latest_checkpoint(tmp_path / name)[0].tensors("model") for name in ("whole", "broken")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_adapted_run_loads_as_a_plain_model_whatever_became_of_its_base(adapted, base):
    config = adapted()
    run(config, resume=False, eval_only=False, quiet=True)
    before = load_run(base).model.state_dict()
    for file in base.glob("step-*/*"):
        file.unlink()
    loaded = load_run(config.train.out_dir)
    after = loaded.model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in changed} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


def test_a_changed_base_is_refused(adapted):
    config = adapted()
    run(config, resume=False, eval_only=False, quiet=True)
    file = config.train.out_dir / "base.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"base\.safetensors` is missing, or not what"):
        load_run(config.train.out_dir)


def test_another_rank_cannot_go_on(adapted):
    config = adapted()
    run(config, resume=False, eval_only=False, quiet=True)
    with pytest.raises(ValueError, match=r"lora\.rank is 2, but .* was trained with 4"):
        changed = adapted(lora__rank="2", train__max_train_steps="30")
        run(changed, resume=True, eval_only=False, quiet=True)


def test_adapters_without_a_model_to_adapt_are_refused(make_config):
    with pytest.raises(ValueError, match=r"lora\.rank \(4\) needs train\.init_from"):
        make_config(lora__rank="4")


def test_a_setting_of_no_adapter_warns(make_config):
    with pytest.warns(UserWarning, match=r"`lora\.alpha` has no effect: `lora\.rank` is 0"):
        make_config(lora__alpha="8")


def test_export_writes_the_adapter_alone(adapted, base, tmp_path, capsys):
    config = adapted()
    run(config, resume=False, eval_only=False, quiet=True)
    words = ["export", str(config.train.out_dir), str(tmp_path / "peft"), "--format", "peft"]
    assert messages.run(build_app(), words) == 0
    assert {path.name for path in (tmp_path / "peft").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    keys = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert (keys["r"], keys["base_model_name_or_path"]) == (4, str(base))
    words[1] = str(base)
    assert messages.run(build_app(), words) == 1
    assert "has no adapter: lora.rank is 0" in capsys.readouterr().err


def test_an_exported_adapter_beside_its_base_speaks_as_the_run_does(
    adapted, base, tmp_path, capsys, monkeypatch
):
    config = adapted(optim__learning_rate="0.3", train__max_train_steps="12", lora__dropout="0")
    run(config, resume=False, eval_only=False, quiet=True)
    folder, adapter = str(config.train.out_dir), str(tmp_path / "a-peft")
    assert messages.run(build_app(), ["export", folder, adapter, "--format", "peft"]) == 0

    def said(verb, typed, *words):
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        settings = ["--temperature", "0", "--max-new-tokens", "12", "--device", "cpu"]
        code = messages.run(build_app(), [verb, *words, *settings])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    plain, learned = (said("chat", "Tom\n", str(x))[1] for x in (base, folder))
    assert plain != learned
    beside = (str(base), "--adapter", adapter)
    code, out, _ = said("chat", "Tom\n/adapter\nTom\n/adapter a_peft\nTom\n", *beside)
    assert (code, out) == (0, learned + plain + learned)
    code, _, err = said("chat", "/adapter b_peft\n", *beside)
    assert (code, "hint: did you mean `a_peft`?" in err) == (1, True), err
    prompted = ("--prompt", "Tom")
    assert said("generate", "", *beside, *prompted)[1] == said("generate", "", folder, *prompted)[1]
    code, _, err = said("generate", "", folder, "--adapter", str(tmp_path), *prompted)
    assert (code, "adapter_config.json`: no such file" in err) == (1, True), err


def test_gguf_of_an_adapted_run_holds_the_merged_weights(make_parts, tmp_path, capsys):
    gguf = pytest.importorskip("gguf")
    write_run(tmp_path / "base", make_parts())
    chats = [{"role": "user", "content": "the"}, {"role": "assistant", "content": "cat"}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": chats}))
    tune = ["sft", "--init-from", "base", "--data", "chats.jsonl", "--out-dir", "tuned", "--quiet"]
    tune += ["--lora.rank", "2", "--max-train-steps", "3", "--learning-rate", "0.1"]
    tune += ["--device", "cpu", "--threads", "1", "--generate-interval", "0"]
    export = ["export", "tuned", "a.gguf", "--dtype", "f32"]
    for words in (tune, export):
        named = [str(tmp_path / word) if word in NAMES else word for word in words]
        assert messages.run(build_app(), named) == 0, capsys.readouterr().err
    merged = load_run(tmp_path / "tuned").model.layers[0].ffn.up_proj.weight.detach().numpy()
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert (tensors["blk.0.ffn_up.weight"] == merged).all()
    base = load_run(tmp_path / "base").model.layers[0].ffn.up_proj.weight.detach().numpy()
    assert not (tensors["blk.0.ffn_up.weight"] == base).all()


NAMES = ("base", "tuned", "chats.jsonl", "a.gguf")


def test_a_saved_configuration_reads_back(adapted):
    config = adapted()
    run(config, resume=False, eval_only=False, quiet=True)
    assert load_config(file=config.train.out_dir / "config.yaml") == config
