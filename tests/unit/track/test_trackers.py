import json
import sys
from types import ModuleType

import pytest

from minillm.config import load_config
from minillm.track.trackers import open_trackers

RECORD = {"step": 3, "loss": 2.5, "tokens": 7, "mfu_of": "words", "final": True, "val_loss": None}
NUMBERS = {"loss": 2.5, "tokens": 7}


class FakeRun:
    """What both packages give: a context that is told numbers."""

    def __init__(self, said, **settings):
        self.said, self.settings, self.id = said, settings, settings.get("id") or "abc1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.said.append("closed")

    def log(self, numbers, *, step):
        self.said.append((step, numbers))

    def add_scalar(self, name, value, step):
        self.said.append((step, {name: value}))

    def flush(self):
        self.said.append("flushed")


@pytest.fixture
def said(monkeypatch):
    """Puts fakes in the place of both packages; what they are told."""
    told = []
    wandb = ModuleType("wandb")
    wandb.Error = type("Error", (Exception,), {})
    wandb.Settings = dict

    def init(**settings):
        if settings["project"] == "refused":
            raise wandb.Error("no API key")
        told.append(settings)
        return FakeRun(told, **settings)

    wandb.init = init
    tensorboard = ModuleType("tensorboard")
    tensorboard.SummaryWriter = lambda folder: FakeRun(told, folder=folder)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tensorboard)
    return told


def send(folder, *, records=(RECORD,), **fields):
    overrides = {f"track.{name}": value for name, value in fields.items()}
    with open_trackers(load_config(overrides=overrides), folder) as send_record:
        for record in records:
            send_record(record)


def test_nothing_is_imported_or_sent_unless_it_is_named(said, tmp_path):
    send(tmp_path)
    assert said == []


def test_wandb_gets_the_numbers_under_the_names_that_were_given(said, tmp_path):
    send(tmp_path, wandb="true", wandb_project="p", wandb_name="n", wandb_mode="offline")
    settings, *rest = said
    assert {name: settings[name] for name in ("project", "name", "mode", "dir", "id")} == {
        "project": "p", "name": "n", "mode": "offline", "dir": str(tmp_path), "id": None,
    }  # fmt: skip
    assert rest == [(3, NUMBERS), "closed"]


def test_resumed_run_is_the_same_one_at_wandb(said, tmp_path):
    send(tmp_path, wandb="true")
    send(tmp_path, wandb="true")
    assert [settings["id"] for settings in said if isinstance(settings, dict)] == [None, "abc1"]


def test_what_an_earlier_process_sent_is_not_sent_again(said, tmp_path):
    """That process was killed after the update of step 2, the present one resumed at step 1."""
    lines = [{"step": 1, "loss": 4}, {"step": 1, "val_loss": 4}, {"step": 2, "loss": 3}]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    send(tmp_path, records=[*lines[1:], {"step": 2, "val_loss": 3}], wandb="true")
    assert said[1:] == [(2, {"val_loss": 3}), "closed"]


def test_refusal_of_wandb_is_told_with_a_way_out(said, tmp_path):
    with pytest.raises(ValueError, match="wandb: no API key") as caught:
        send(tmp_path, wandb="true", wandb_project="refused")
    assert caught.value.__notes__ == ["try --track.wandb_mode offline"]


def test_tensorboard_has_each_number_on_the_disk_at_once(said, tmp_path):
    send(tmp_path, tensorboard="true")
    assert said == [(3, {"loss": 2.5}), (3, {"tokens": 7}), "flushed", "closed"]


@pytest.mark.parametrize(
    ("name", "module"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_absent_package_is_told_with_the_command_that_adds_it(monkeypatch, tmp_path, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"the package .*{name} is not installed") as caught:
        send(tmp_path, **{name: "true"})
    assert caught.value.__notes__ == ["add it from the checkout: uv pip install -e '.[track]'"]


def test_project_without_wandb_warns(tmp_path):
    with pytest.warns(UserWarning, match=r"`track\.wandb_project` has no effect"):
        send(tmp_path, wandb_project="p")
