"""Numbers that stop being finite: in the loss, in a gradient, in a weight, or for one batch."""

import random
import shutil

import pytest
import torch

from minillm.checkpoint import list_checkpoints, verify_checkpoint
from minillm.pretrain import run
from minillm.track import report
from minillm.track.metrics import read_metrics
from minillm.train import loop, step
from minillm.train.saving import NonFiniteError

PLACES = ("loss", "gradient", "weight", "unused weight", "batch")
VALUES = (float("nan"), float("inf"), float("-inf"))


@pytest.fixture
def poison(monkeypatch):
    """Poisons one step, or the batch that one step reads, wherever the run comes to read it."""

    def arrange(place, at, value, rng):
        done = []
        train_step, backward = loop.train_step, step._backward

        def poisoned_step(current):
            batch = current.step + current.skipped_steps
            if not (batch == at if place == "batch" else current.step == at and not done):
                return train_step(current)
            done.append(current.step)
            parameters = list(current.model.parameters())
            weight = rng.choice(parameters)
            if place == "unused weight":  # the row of an id that no text has
                weight = current.model.state_dict()["embed_tokens.weight"][0]
            index = rng.randrange(weight.numel())
            if "weight" in place:
                with torch.no_grad():
                    weight.view(-1)[index] = value
                return train_step(current)
            if place == "gradient":
                hook = weight.register_hook(lambda gradient: gradient.clone().fill_(value))
                try:
                    return train_step(current)
                finally:
                    hook.remove()

            def bad_loss(self, batch, share, **options):
                backward(self, batch, share, **options)
                self.model.cross_entropy = self.model.cross_entropy + value

            with monkeypatch.context() as patched:
                patched.setattr(step, "_backward", bad_loss)
                return train_step(current)

        monkeypatch.setattr(loop, "train_step", poisoned_step)
        return done

    return arrange


def assert_all_is_finite(folder):
    for path in list_checkpoints(folder):
        checkpoint = verify_checkpoint(path)
        for kind in ("model", "optimizer"):
            for name, tensor in checkpoint.tensors(kind).items():
                assert tensor.isfinite().all(), (path, name)


@pytest.mark.parametrize("policy", ["stop", "rewind"])
def test_what_is_not_finite_is_never_saved_and_the_policy_is_followed(
    make_config, poison, policy, tmp_path, monkeypatch, amount, tell
):
    monkeypatch.setattr(report, "draw_plots", lambda folder, records: None)
    monkeypatch.setattr(report, "PLOTS", ())
    asked, rng, hits = amount(5, 150), random.Random(5), []
    config = make_config(
        train__on_nonfinite=policy,
        train__save_interval="2",
        train__max_train_steps="8",
        train__generate_interval="0",
        model__tie_embeddings="false",
    )
    original = loop.train_step
    for number in range(asked):
        place, value = PLACES[number % len(PLACES)], rng.choice(VALUES)
        at = rng.randint(2, 7)
        loop.train_step = original
        done = poison(place, at, value, rng)
        options = {"resume": False, "eval_only": False, "quiet": True}
        if policy == "stop":
            with pytest.raises(NonFiniteError, match="the newest checkpoint is step"):
                run(config, **options)
            assert list_checkpoints(tmp_path / "run")[-1].name == f"step-{at - at % 2:06d}"
        else:
            assert run(config, **options).is_complete
            records = read_metrics(tmp_path / "run")
            (back,) = [record for record in records if "rewinds" in record]
            assert (back["rewinds"], back["step"]) == (1, at - at % 2)
        assert len(done) == 1
        assert_all_is_finite(tmp_path / "run")
        shutil.rmtree(tmp_path / "run")
        hits.append(f"{place} {value}")
    tell(
        f"NaN and infinity, policy {policy}",
        asked=asked,
        injected=len(hits),
        where=[hit.rpartition(" ")[0] for hit in hits],
        outcome="never saved; the run " + ("stopped" if policy == "stop" else "went back and on"),
    )
