import os
import signal

import pytest
import torch

from minillm.checkpoint import latest_checkpoint
from minillm.config import load_config
from minillm.pretrain import run
from minillm.tokenizer import Tokenizer
from minillm.train import build_run, loop


@pytest.fixture
def mixed(data_folder):
    """A second shard beside `train.bin`."""
    text = data_folder.parent / "kites.txt"
    text.write_text("<|endoftext|>".join(f"kite {n} " * (n % 9 + 1) for n in range(200)))
    tokenizer = Tokenizer.load(data_folder / "tokenizer.json")
    tokenizer.encode_files([text], data_folder / "kites.bin")
    return "{kites.bin: 1, train.bin: 2}"


def train(config, **options):
    return run(config, **{"resume": False, "eval_only": False, "quiet": True, **options})


def state_and_weights(folder):
    checkpoint, _ = latest_checkpoint(folder)
    return checkpoint.state, checkpoint.tensors("model")


@pytest.mark.parametrize("rows", [{}, {"data__rows": "documents"}, {"data__stride": "11"}])
def test_resumed_run_of_a_mixture_is_bit_equal_to_unbroken_run(
    make_config, mixed, monkeypatch, tmp_path, rows
):
    fields = {"data__mixture": mixed, "train__mask_documents": "true", **rows}
    unbroken = make_config(**fields, train__out_dir=str(tmp_path / "unbroken"))
    broken = make_config(**fields, train__out_dir=str(tmp_path / "broken"))
    train(unbroken)
    original = loop.train_step

    def step_then_signal(current):
        result = original(current)
        if current.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(loop, "train_step", step_then_signal)
    train(broken)
    monkeypatch.setattr(loop, "train_step", original)
    train(broken, resume=True)
    expected, weights = state_and_weights(unbroken.train.out_dir)
    state, found = state_and_weights(broken.train.out_dir)
    assert state["samples"] == expected["samples"] == 160
    assert state["epochs"] == expected["epochs"]
    assert all(torch.equal(tensor, found[name]) for name, tensor in weights.items())


def test_a_mixture_reads_each_file_by_its_weight_in_whatever_order_it_is_written(
    make_config, mixed
):
    runs = [
        build_run(make_config(data__mixture=text), resume=False, say=lambda _: None)
        for text in (mixed, "{train.bin: 0.5, kites.bin: 0.25}")
    ]
    batches = [run.data.train.batch(0).ids for run in runs]
    assert torch.equal(*batches)
    sources, _ = runs[0].data.train.order.rows(0, 300, 0, 1)
    assert (sources == 0).sum() == 100
    assert set(runs[0].data.hashes) == {"train 0", "train 1", "val", "tokenizer"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__mixture": "{nothing.bin: 1}"}, "nothing.bin`, which data.mixture names"),
        ({"data__mixture": "{train.bin: 0}"}, "data.mixture.train.bin"),
        ({"data__mixture": "{train.bin: -1}"}, "data.mixture.train.bin"),
        ({"data__mixture": "{train.bin: .nan}"}, "data.mixture.train.bin"),
        ({"data__mixture": "{train.bin: 1}", "data__train": "a.bin"}, "data.train (`a.bin`)"),
        ({"data__stride": "0"}, "data.stride"),
        ({"data__stride": "33"}, "data.stride (33) must not exceed train.seq_len (32)"),
    ],
)
def test_what_cannot_be_mixed_or_cut_is_refused_by_name(make_config, changes, message):
    with pytest.raises(ValueError, match="data") as raised:
        train(make_config(**changes))
    assert message in str(raised.value)


def test_rows_of_documents_need_a_manifest(make_config, data_folder):
    (data_folder / "train.json").unlink()
    with pytest.raises(ValueError, match=r"data\.rows \(documents\): `.*train\.bin` has no manif"):
        train(make_config(data__rows="documents"))


def test_shards_of_different_tokenizers_are_not_mixed(make_config, mixed, data_folder):
    other = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<a>", "<|endoftext|>"], None)
    other.encode_files([data_folder.parent / "kites.txt"], data_folder / "kites.bin")
    (data_folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"train\.bin` was encoded by another tokenizer"):
        train(make_config(data__mixture=mixed))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("data.mixture", "{kites.bin: 1, train.bin: 3}"),
        ("data.rows", "documents"),
        ("data.stride", "8"),
    ],
)
def test_a_resumed_run_keeps_its_order(make_config, mixed, field, text):
    fields = {"data__mixture": mixed, "train__max_train_steps": "4"}
    train(make_config(**fields))
    changed = make_config(**{**fields, field.replace(".", "__"): text})
    with pytest.raises(ValueError, match=rf"{field} is .*, but `.*` was trained with"):
        train(changed, resume=True)


def test_a_stride_beside_documents_is_said_to_have_no_effect():
    with pytest.warns(
        UserWarning, match=r"`data\.stride` has no effect: `data\.rows` is documents"
    ):
        load_config(overrides={"data.rows": "documents", "data.stride": "8"})
