import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minillm import messages
from minillm.checkpoint import latest_checkpoint, list_checkpoints
from minillm.data import Batch, prepare
from minillm.model import IGNORED
from minillm.pretrain import app, run
from minillm.tokenizer import Tokenizer
from minillm.track.metrics import read_metrics
from minillm.track.processes import read_processes
from minillm.train import build_run, loop, session


def train(config, **options):
    return run(config, **{"resume": False, "eval_only": False, "quiet": True, **options})


@pytest.fixture
def call(settings, capsys):
    """Calls `minillm pretrain` in this process; gives its exit code, output and errors."""

    def run_verb(*words, **changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        options = [f"--{name}={value}" for name, value in {**settings, **named}.items()]
        code = messages.run(app, [*options, *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_verb


@pytest.fixture
def trained(trained_copy):
    """A finished run, where `call` looks for it."""
    return trained_copy("run")


def test_run_leaves_everything_in_its_folder(make_config):
    config = make_config()

    result = train(config)

    folder = config.train.out_dir
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        "config.yaml", "tokenizer.json", "metrics.jsonl", "loss.png", "lr.png", "samples.txt",
        "step-000016", "step-000020", "latest", "best", "run.json", "report.html",
    }  # fmt: skip
    assert (folder / "latest").read_text() == "step-000020\n"
    assert result.is_complete
    assert result.steps == 20


def test_json_is_the_metrics_and_nothing_else(call, tmp_path):
    code, out, err = call("--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == read_metrics(tmp_path / "run")
    assert "done: 20 steps" in err


def test_each_process_of_a_run_is_told_of_with_all_hashes(make_config, tmp_path):
    train(make_config(train__max_train_steps="4"))
    train(make_config(), resume=True)
    first, second = read_processes(tmp_path / "run")
    assert (first["step"], second["step"]) == (0, 4)
    assert first["hashes"].keys() == {"train", "val", "tokenizer"}
    assert first["config"]["train"]["max_train_steps"] == 4
    assert second["device"] == "1 CPU threads"
    assert "Process 2 of 2, from step 4" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.usefixtures("no_compiler")
def test_profile_is_left_in_the_run_folder(call, tmp_path):
    code, _, err = call("--profile", "1")
    assert code == 0
    assert (tmp_path / "run" / "profile" / "trace.json.gz").exists()
    assert "the costliest operations" in err


def test_absent_tracker_is_told_before_anything_is_begun(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    code, _, err = call("--track.wandb")
    assert code == messages.EXIT_FAILED
    assert "error: the package wandb is not installed\nhint: add it from the checkout" in err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_loss_falls(make_config):
    config = make_config(optim__name="adamw", optim__learning_rate="1e-2")
    result = train(config)
    first = read_metrics(config.train.out_dir)[0]
    assert first["val_loss"] == pytest.approx(math.log(257), abs=0.1)
    assert result.val_loss < 0.8 * first["val_loss"]


def test_latent_attention_in_windows_learns_and_samples(make_config, tmp_path):
    shape = {
        "model__attention": "mla",
        "model__d_latent_q": "16",
        "model__qk_norm": "false",
        "model__windows": "8, 0",
        "model__rope_scaling": "yarn",
        "model__rope_scaling_factor": "2",
    }
    result = train(make_config(optim__learning_rate="1e-2", **shape))
    assert result.val_loss < 0.8 * math.log(257)
    assert "=== step 20 ===" in (tmp_path / "run" / "samples.txt").read_text()


def test_masked_documents_change_what_is_learned(make_config, tmp_path):
    losses = [
        train(make_config(train__mask_documents=mask, train__out_dir=f"{tmp_path}/{mask}")).val_loss
        for mask in ("true", "false")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert losses[0] != losses[1]


def test_documents_without_an_end_cannot_be_masked(call, data_folder):
    (data_folder / "tokenizer.json").unlink()
    code, _, errors = call(train__mask_documents="true", model__vocab_size="257")
    assert code == messages.EXIT_FAILED
    assert "error: train.mask_documents (true) needs a tokenizer with an end-of-text tok" in errors


@pytest.mark.parametrize(
    ("fields", "backend"), [({}, "sdpa"), ({"model__attention_softcap": "9"}, "reference")]
)
def test_run_of_flex_attention_goes_on_on_a_cpu(call, tmp_path, fields, backend):
    shared = {"train__max_train_steps": "8", **fields}
    twin = {"model__attention_backend": backend, "train__out_dir": f"{tmp_path}/twin"}
    assert call(**shared, **twin)[0] == 0
    code, _, errors = call(model__attention_backend="flex", **shared)
    assert code == 0
    assert f"model.attention_backend: {backend} takes the place of flex" in errors
    assert "attention_backend: flex" in (tmp_path / "run" / "config.yaml").read_text()
    assert call("--eval-only")[1] == call("--eval-only", train__out_dir=f"{tmp_path}/twin")[1]
    longer = {"train__max_train_steps": "9", "model__attention_backend": backend}
    assert call("--resume", **longer)[0] == 0


def test_final_evaluation_covers_every_validation_token(trained, data_folder):
    last = read_metrics(trained)[-1]
    ids = np.fromfile(data_folder / "val.bin", dtype="<u2")
    assert last["final"]
    assert last["val_tokens"] == len(ids) - 1
    text_bytes = int((ids[1:] < 256).sum())  # the end-of-text token stands for no text
    in_bits = last["val_loss"] * last["val_tokens"] / math.log(2) / text_bytes
    assert last["val_bits_per_byte"] == pytest.approx(in_bits, rel=1e-9)


def test_the_best_is_chosen_on_the_same_tokens(make_config):
    """The last evaluation is of all tokens, and so has another loss even of the same weights."""
    config = make_config(optim__learning_rate="1e-12", model__dropout="0")
    train(config)
    *before, last = [r for r in read_metrics(config.train.out_dir) if "val_loss" in r]
    assert [r["step"] for r in before] == [0, 5, 10, 15, 20]
    assert {r["val_tokens"] for r in before} == {256}
    losses = [r["val_loss"] for r in before]
    assert losses == pytest.approx(losses[:1] * 5, abs=1e-6)
    assert abs(last["val_loss"] - losses[0]) > 1e-5


def test_accumulation_counts_each_target_alike_where_some_are_ignored(make_config):
    torch.manual_seed(0)
    ids, targets = torch.randint(257, (2, 8, 32)).unbind()
    for row, ignored in enumerate((0, 32, 32, 32, 5, 30, 31, 17)):  # rows 2 and 3 have no target
        targets[row, :ignored] = IGNORED
    seen = []
    for batch_size, micro_steps in ((8, 1), (2, 4)):
        config = make_config(
            train__batch_size=str(batch_size),
            train__gradient_accumulation_steps=str(micro_steps),
            optim__name="sgd",
            optim__learning_rate="1",
            optim__warmup_steps="1",
            model__dropout="0",
        )
        whole = build_run(config, resume=False, say=lambda _: None)
        pieces = zip(ids.split(batch_size), targets.split(batch_size), strict=True)
        batch = [Batch(i, t, None, int((t != IGNORED).sum())) for i, t in pieces]
        batches = SimpleNamespace(batch=lambda index, device, batch=batch: batch[index])
        whole.data = dataclasses.replace(whole.data, train=batches)
        expected = whole.model.eval()(ids, targets=targets)
        whole.model.train()
        loss, grad_norm = loop.train_step(whole)
        torch.testing.assert_close(loss, expected.detach())
        seen.append([grad_norm, *whole.model.parameters()])
    torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-6)


def test_accumulation_equals_one_large_batch(make_config, tmp_path):
    losses = []
    for batch_size, micro_steps in (("8", "1"), ("4", "2")):
        config = make_config(
            train__batch_size=batch_size,
            train__gradient_accumulation_steps=micro_steps,
            train__out_dir=str(tmp_path / micro_steps),
            model__dropout="0",
        )
        train(config)
        records = read_metrics(config.train.out_dir)
        losses.append([record["loss"] for record in records if "loss" in record])
    # float32 sums of the same numbers in another order, through twenty updates
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_signal_saves_and_exits_with_75(start, tmp_path):
    process = start(train__max_train_steps="100000", train__log_interval="1")
    for line in process.stderr:
        if line.startswith("step 3/"):
            break
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == messages.EXIT_RESUMABLE, errors
    assert f"minillm pretrain --out-dir {tmp_path / 'run'} --resume" in errors
    checkpoint, refused = latest_checkpoint(tmp_path / "run")
    assert checkpoint.step >= 3
    assert not refused


def test_second_ctrl_c_leaves_at_once(make_config, monkeypatch):
    def step(current):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return original(current)

    original = loop.train_step
    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(KeyboardInterrupt):
        train(make_config())


def test_the_same_words_begin_a_run_and_go_on_with_it(call, settings, tmp_path):
    words = ("--resume", "auto", "--model", "nano")
    assert call(*words, train__max_train_steps="4")[0] == 0
    code, _, errors = call(*words, train__max_train_steps="8")
    assert (code, "resumed from" in errors) == (0, True), errors
    assert latest_checkpoint(tmp_path / "run")[0].step == 8
    assert call("--resume", "auto")[0] == 0


@pytest.mark.usefixtures("trained")
def test_finished_run_says_so(call):
    code, _, errors = call("--resume")
    assert code == 0
    assert "is complete: 20 steps, val loss" in errors


def test_finished_run_can_be_prolonged(trained, call):
    code, _, _ = call("--resume", train__max_train_steps="24")
    assert code == 0
    assert latest_checkpoint(trained)[0].step == 24
    steps = [r["step"] for r in read_metrics(trained) if r.get("final")]
    assert steps == [24]


def test_existing_run_is_not_overwritten(trained, call):
    code, _, errors = call()
    assert code == messages.EXIT_FAILED
    assert f"error: `{trained}` already holds a run\nhint: go on with it by --resume" in errors


def test_resume_without_a_run_is_an_error(call, tmp_path):
    code, _, errors = call("--resume")
    assert code == messages.EXIT_FAILED
    assert f"error: `{tmp_path / 'run'}` holds no run" in errors


def test_eval_only_prints_the_numbers_of_the_run(trained, call):
    last = read_metrics(trained)[-1]
    code, output, _ = call("--eval-only")
    assert code == 0
    assert json.loads(output) == {
        "step": 20,
        "val_loss": last["val_loss"],
        "val_bits_per_byte": last["val_bits_per_byte"],
    }


def test_interrupted_evaluation_has_nothing_to_resume(make_config, call, monkeypatch):
    def interrupt(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    train(make_config(train__max_train_steps="1"))
    monkeypatch.setattr(session, "evaluation_of", interrupt)
    code, output, errors = call("--eval-only")
    assert (code, output) == (messages.EXIT_INTERRUPTED, "")
    assert errors.endswith("error: interrupted\n")


def test_damaged_checkpoint_is_named_and_passed_over(trained, call):
    weights = trained / "step-000020" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)

    code, _, errors = call("--resume")

    assert code == 0
    assert f"passed over: `{weights}` has" in errors
    assert f"resumed from `{trained / 'step-000016'}`" in errors
    assert (trained / "step-000020.damaged").is_dir()
    assert latest_checkpoint(trained)[0].step == 20


def test_only_damaged_checkpoints_is_an_error(trained, call):
    for checkpoint in list_checkpoints(trained):
        (checkpoint / "state.json").unlink()
    code, _, errors = call("--resume")
    assert code == messages.EXIT_FAILED
    assert "holds no usable checkpoint" in errors
    assert "step-000020/state.json` is missing" in errors


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("field", ["model.d_model", "train.seed"])
def test_resume_refuses_another_shape_or_order(call, field):
    code, _, errors = call("--resume", **{field.replace(".", "__"): "64"})
    assert code == messages.EXIT_FAILED
    assert f"error: {field} is 64, but" in errors


@pytest.mark.usefixtures("trained")
def test_resume_refuses_another_batch(call):
    code, _, errors = call("--resume", train__batch_size="16")
    assert code == messages.EXIT_FAILED
    assert "a step has 32 sequences, but" in errors
    assert "train.batch_size 4 x gradient_accumulation_steps 2" in errors


def test_a_run_goes_on_with_another_micro_batch(make_config, call, tmp_path):
    train(make_config(train__max_train_steps="4"))
    sizes = {"train__batch_size": "2", "train__gradient_accumulation_steps": "4"}
    assert call("--resume", train__max_train_steps="8", **sizes)[0] == 0
    assert latest_checkpoint(tmp_path / "run")[0].step == 8


@pytest.mark.usefixtures("trained")
def test_resume_refuses_other_data(call, data_folder):
    text = data_folder / "other.txt"
    text.write_text("Sam saw a blue kite. " * 60)
    Tokenizer.load(data_folder / "tokenizer.json").encode_files([text], data_folder / "train.bin")
    code, _, errors = call("--resume")
    assert code == messages.EXIT_FAILED
    assert "train.bin` is not what" in errors


def test_wrong_tokenizer_is_refused(call, data_folder):
    manifest = data_folder / "val.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, "tokenizer_sha256": "0" * 64}))
    code, _, errors = call()
    assert code == messages.EXIT_FAILED
    assert "val.bin` was encoded by another tokenizer: its manifest has tokenizer_sha256" in errors


def test_missing_data_says_how_to_make_it(call, tmp_path):
    code, _, errors = call(data__path=str(tmp_path / "nowhere"))
    assert code == messages.EXIT_FAILED
    assert "error: no training shard" in errors
    assert "hint: make one with `minillm-bpe encode" in errors


def test_text_of_one_document_trains_without_validation(call, data_folder):
    """Documents are held out whole, so the encoder writes an empty val.bin for such a text."""
    (data_folder / "val.bin").write_bytes(b"")
    manifest = data_folder / "val.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "tokens": 0}))
    code, _, errors = call()
    assert code == 0
    assert "val.bin` holds 0 tokens: nothing is held out to validate on" in errors
    assert call("--eval-only")[0] == messages.EXIT_FAILED


@pytest.fixture
def call_bare(settings, tmp_path, monkeypatch, capsys):
    """Calls `minillm pretrain` in an empty folder, without a word about data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepare, "STORIES_BYTES", 150_000)
    monkeypatch.setattr(prepare, "VOCAB_SIZE", 400)
    del settings["data.path"]

    def run_bare(*words):
        options = [f"--{name}={value}" for name, value in settings.items()]
        code = messages.run(app, [*options, *words])
        return code, capsys.readouterr().err

    return run_bare


def test_without_data_the_built_in_stories_are_taken(call_bare, data_folder, tmp_path):
    data_folder.rename(tmp_path / "elsewhere")
    code, errors = call_bare()
    assert code == 0
    assert "no --data and no `./data`: training on built-in stories in `runs/stories`" in errors
    assert "tokens in `runs/stories/train.bin`" in errors


def test_stories_are_not_taken_for_data_that_was_asked_for(call_bare, data_folder, tmp_path):
    data_folder.rename(tmp_path / "elsewhere")
    code, errors = call_bare("--data", "data")
    assert code == messages.EXIT_FAILED
    assert "error: no training shard `data/train.bin`" in errors
    assert not (tmp_path / "runs").exists()


def test_quiet_run_says_nothing_of_the_stories_either(call_bare, data_folder, tmp_path):
    data_folder.rename(tmp_path / "elsewhere")
    assert call_bare("--quiet", "--train.max_train_steps=1") == (0, "")


def test_data_folder_here_is_taken_before_the_stories(call_bare):
    code, errors = call_bare()
    assert code == 0
    assert "tokens in `data/train.bin`" in errors


def test_bare_nanogpt_file_is_read_with_a_note(call, data_folder, tmp_path):
    for name in ("train.json", "val.json", "tokenizer.json"):
        (data_folder / name).unlink()
    code, _, errors = call(model__vocab_size="257")
    assert code == 0
    assert "train.bin` has no manifest: read as bare 16-bit ids" in errors
    assert not (tmp_path / "run" / "samples.txt").exists()
    assert read_metrics(tmp_path / "run")[-1]["val_bits_per_byte"] is None


def test_ids_beyond_the_tokenizer_are_never_sampled(make_config, tmp_path):
    """Nearly all of these 20,000 are padding, which an untrained model would draw."""
    train(make_config(model__vocab_size="20000", train__max_train_steps="1"))
    assert "=== step 1 ===" in (tmp_path / "run" / "samples.txt").read_text()


def test_prompt_that_cannot_be_read_is_told_before_the_first_step(make_config, tmp_path):
    with pytest.raises(ValueError, match=r"sample\.prompts\[0\] has 41 tokens"):
        train(make_config(sample__prompts="a" * 40))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_non_finite_gradient_leaves_the_weights_alone(make_config, monkeypatch):
    def step(current):
        weight = current.model.norm.weight
        if current.step == 6:
            weight.register_hook(lambda gradient: gradient * float("nan"))
        seen[:] = [parameter.detach().clone() for parameter in current.model.parameters()]
        trained[:] = current.model.parameters()
        return original(current)

    seen, trained = [], []
    original = loop.train_step
    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(ValueError, match=r"finite by step 7: loss .*norm nan"):
        train(make_config())
    assert all(torch.equal(before, now) for before, now in zip(seen, trained, strict=True))


def test_bfloat16_trains(make_config):
    result = train(make_config(train__dtype="bfloat16"))
    assert math.isfinite(result.val_loss)


def test_help_and_typo_do_not_import_torch():
    code = (
        "import sys; from minillm import messages; from minillm.pretrain import app;"
        "messages.run(app, ['--help']); messages.run(app, ['--optim.learning_rat', '1']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--gradient-accumulation-steps" in done.stdout
    assert "hint: did you mean `--optim.learning_rate`?" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-sze=3"], "unknown option `--batch-sze`\nhint: did you mean `--batch-size`?"),
        (["--eval-batches=3"], "hint: did you mean `--train.eval_batches`?"),
        (["--seed"], "option `--seed` needs a value"),
        (["--no-compile=true"], "option `--no-compile` takes no value, it is `true`"),
        (["runs/a"], "unexpected word `runs/a`"),
        (["--batch-size=0"], "`train.batch_size` on the command line is 0, expected more than 0"),
        (["--model", "tinny"], "hint: did you mean `tiny`?"),
        (["--resume", "--model", "tiny"], "--model cannot be given with --resume"),
    ],
)
def test_wrong_usage_exits_with_2(words, message, capsys):
    assert messages.run(app, words) == messages.EXIT_USAGE
    assert message in capsys.readouterr().err
