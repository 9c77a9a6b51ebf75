"""`minillm runs`, on folders as runs leave them."""

import json
import subprocess
import sys

import pytest

from minillm import messages
from minillm.config import dump_yaml, load_config
from minillm.runs import app
from minillm.track.lock import RunLock


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run_verb(*words):
        code = messages.run(app, words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_verb


@pytest.fixture
def make_run(tmp_path):
    """A run of 20 steps that came as far as `step`."""

    def make(name, *, step=20, val_loss=3.0, bits=1.5, **fields):
        folder = tmp_path / "runs" / name
        (folder / "step-000020").mkdir(parents=True)
        overrides = {name.replace("__", "."): value for name, value in fields.items()}
        overrides |= {"train.max_train_steps": "20", "train.out_dir": str(folder)}
        for place in (folder, folder / "step-000020"):
            (place / "config.yaml").write_text(dump_yaml(load_config(overrides=overrides)))
        (folder / "run.json").write_text(json.dumps([{"parameters": 7_340_000}]))
        records = [{"step": step, "loss": 3.1, "tokens": 64 * step, "elapsed_s": 90.0}]
        records.append({"step": step, "val_loss": val_loss, "val_bits_per_byte": bits})
        records[-1]["final"] = step == 20
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "metrics.jsonl").write_text(text)
        return folder

    return make


def test_table_has_the_best_run_first(make_run, call):
    make_run("worse", bits=1.75)
    make_run("deeper/best", optim__learning_rate="5e-4")
    make_run("stopped", step=10, bits=None, val_loss=2.0)
    code, out, err = call()
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:3] == ["run", "parameters", "steps"]
    best = "runs/deeper/best 7.34 M 20 1.28 k 3.0000 1.5000 0.0005 1.5 min complete"
    assert rows[1] == best.split()
    assert [row[0] for row in rows[2:]] == ["runs/worse", "runs/stopped"]
    assert rows[3][-1] == "stopped"


def test_run_whose_folder_is_locked_is_running(make_run, call):
    folder = make_run("a", step=10)
    with RunLock(folder):
        assert json.loads(call("--json")[1])[0]["status"] == "running"
    assert json.loads(call("--json")[1])[0]["status"] == "stopped"


def test_differing_fields_are_columns_if_asked_for(make_run, call):
    folders = [str(make_run(name, train__seed=name[-1])) for name in ("run1", "run2")]
    assert "train.seed" not in call()[1]
    rows = json.loads(call(*folders, folders[0], "--diff", "--json")[1])
    assert [row["train.seed"] for row in rows] == [1, 2]
    assert [name for name in rows[0] if "." in name] == ["train.seed"]


def test_losses_are_drawn_over_one_another(make_run, call, tmp_path):
    make_run("a")
    make_run("b")
    assert call("--plot", "all.png")[0] == 0
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")


def test_plot_that_cannot_be_written_is_named(make_run, call, tmp_path):
    make_run("a")
    (tmp_path / "file").touch()
    code, _, err = call("--plot", "file/all.png")
    assert code == messages.EXIT_FAILED
    assert err.startswith("error: `file")


def break_metrics(folder):
    (folder / "metrics.jsonl").write_bytes(b"\xff\x00\n")


def break_values(folder):
    (folder / "metrics.jsonl").write_text('{"step": "x", "loss": 1}\n')


def break_config(folder):
    (folder / "config.yaml").write_text("model: {n_layer: 3}")


def lose_config(folder):
    (folder / "config.yaml").unlink()


def break_process(folder):
    (folder / "run.json").write_text("[{")


@pytest.mark.parametrize(
    "damage", [break_metrics, break_values, break_config, lose_config, break_process]
)
def test_broken_run_is_named_and_the_others_are_listed(make_run, call, damage):
    make_run("sound")
    damage(make_run("broken"))
    code, out, err = call()
    assert code == messages.EXIT_FAILED
    assert err.startswith("warning: `runs/broken` is left out: ")
    assert len(err.splitlines()) <= 2
    assert [line.split()[0] for line in out.splitlines()] == ["run", "runs/sound"]


def test_run_that_has_only_begun_is_listed(make_run, call):
    folder = make_run("a")
    (folder / "metrics.jsonl").unlink()
    (folder / "run.json").unlink()
    code, out, _ = call()
    assert code == 0
    row = out.splitlines()[1].split()
    assert row == ["runs/a", "-", "0", "0", "-", "-", "0.006", "0.0", "s", "stopped"]


def test_folder_without_runs_is_an_error(call):
    code, out, err = call("nowhere")
    assert (code, out) == (messages.EXIT_FAILED, "")
    assert err == "error: no run in `nowhere`\n"


def test_torch_is_not_imported(make_run, tmp_path):
    make_run("a")
    code = (
        "import sys; from minillm import messages, runs;"
        "sys.exit(messages.run(runs.app, [sys.argv[1], '--diff']) or 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
