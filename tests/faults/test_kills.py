"""Runs that are killed at random moments, begun again with the same words, and killed again."""

import random
import shutil
import signal
import time

import pytest

from minillm.checkpoint import list_checkpoints


def wait_for_a_save(child, folder):
    saved = list_checkpoints(folder)
    while child.is_alive() and list_checkpoints(folder) == saved:
        time.sleep(0.002)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_run_killed_at_random_moments_is_bit_equal_to_unbroken_run(
    forks, words_of, unbroken, tmp_path, assert_equal_runs, amount, tell, optimizer
):
    asked, moments, phases, runs = amount(4, 167), random.Random(optimizer), [], 0
    changes = {"optim__name": optimizer, "train__save_interval": "1"}
    killed = tmp_path / "killed"
    while len(phases) < asked:
        code = None
        while code != 0:
            child = forks.pretrain(words_of(killed, **changes))
            if len(phases) < asked:
                # Of three kills one comes whenever it comes, mostly while the run begins.
                if moments.random() < 1 / 3:
                    time.sleep(moments.uniform(0, 0.4))
                else:
                    wait_for_a_save(child, killed)
                    time.sleep(moments.uniform(0, 0.15))
                child.kill()
            code = child.wait()
            assert code in (0, -signal.SIGKILL), child.errors
            if code:
                phases.append(child.page.phase())
            if code and killed.exists():  # what a kill may leave beside what it has left
                (killed / ".latest.0123abcd").touch()
        assert_equal_runs(unbroken(**changes), killed)
        assert [path.name for path in killed.glob(".*")] == [".lock"]
        shutil.rmtree(killed)
        runs += 1
    tell(
        f"SIGKILL at a random moment of a run, {optimizer}",
        asked=asked,
        injected=len(phases),
        where=phases,
        outcome=f"{runs} times to the end, each bit-equal to the unbroken run",
    )
