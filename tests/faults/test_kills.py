"""Runs that are killed at random moments, begun again with the same words, and killed again."""

import itertools
import random
import shutil
import signal
import time

from minillm.checkpoint import list_checkpoints

OPTIMIZERS = ("muon", "adamw", "sgd")


def wait_for_a_save(child, folder):
    saved = list_checkpoints(folder)
    while child.is_alive() and list_checkpoints(folder) == saved:
        time.sleep(0.002)


def test_run_killed_at_random_moments_is_bit_equal_to_unbroken_run(
    forks, words_of, unbroken, tmp_path, assert_equal_runs, amount, tell
):
    asked, moments, kills, phases, runs = amount(10, 500), random.Random(0), 0, [], 0
    for turn in itertools.count():
        changes = {"optim__name": OPTIMIZERS[turn % 3], "train__save_interval": "1"}
        killed = tmp_path / "killed"
        while True:
            child = forks.pretrain(words_of(killed, **changes))
            if kills < asked:
                # Of three kills one comes whenever it comes, mostly while the run begins.
                if moments.random() < 1 / 3:
                    time.sleep(moments.uniform(0, 0.4))
                else:
                    wait_for_a_save(child, killed)
                    time.sleep(moments.uniform(0, 0.15))
                child.kill()
            code = child.wait()
            if code == 0:
                break
            assert code == -signal.SIGKILL, child.errors
            kills += 1
            if killed.exists():  # one more that a kill might have left
                (killed / ".latest.0123abcd").touch()
            phases.append(child.page.phase())
        assert_equal_runs(unbroken(**changes), killed)
        assert [path.name for path in killed.glob(".*")] == [".lock"]
        shutil.rmtree(killed)
        runs = turn + 1
        if kills >= asked:
            break
    tell(
        "SIGKILL at a random moment of a run",
        asked=asked,
        injected=kills,
        where=phases,
        outcome=f"{runs} runs, each bit-equal to the unbroken one",
    )
