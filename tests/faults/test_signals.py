"""Runs that are asked to stop while they train, evaluate, sample, compile or save."""

import itertools
import random
import shutil
import signal
import time
from collections import Counter

from minillm.checkpoint import latest_checkpoint
from minillm.messages import EXIT_RESUMABLE

SAVED_WITHIN_S = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PHASES = {
    # Times that a run of 20 steps comes to it, and seconds that it may take.
    "training": (19, 0.03),
    "evaluation": (3, 0.03),
    "sampling": (2, 0.05),
    "dry run, compile": (1, 0.3),
    "save": (4, 0.03),
}
COMPILE_S = 0.3


def test_run_stopped_in_any_phase_saves_exits_with_75_and_goes_on_bit_equal(
    forks, words_of, unbroken, tmp_path, assert_equal_runs, amount, tell
):
    asked, moments, hits, slowest_s = amount(5, 100), random.Random(1), [], 0.0
    attempts = zip(itertools.cycle(PHASES.items()), itertools.cycle(SIGNALS), strict=False)
    for (phase, (times, longest_s)), number in attempts:
        run = tmp_path / "run"
        plan = {
            "number": number,
            "phase": phase,
            "entry": moments.randint(1, times),
            "delay_s": moments.uniform(0, longest_s),
        }
        slowly = {"slow_compile_s": COMPILE_S} if phase == "dry run, compile" else {}
        compiled = {"train__compile": "true"} if slowly else {}
        words = words_of(run, **compiled)
        child = forks.pretrain(words, signal=plan, arguments=slowly)
        code = child.wait()
        took_s = time.time() - float(child.page.slot("time") or "nan")
        where = child.page.phase("struck ")
        if code == 0:  # it was too late: the run was at its last evaluation
            assert "is complete" not in child.errors
            shutil.rmtree(run)
            continue
        assert code == EXIT_RESUMABLE, (where, child.errors)
        assert took_s < SAVED_WITHIN_S, where
        slowest_s = max(slowest_s, took_s)
        checkpoint, refused = latest_checkpoint(run)
        assert not refused
        assert f"saved at step {checkpoint.step}; to go on: minillm pretrain" in child.errors
        again = forks.pretrain(words, arguments={"slow_compile_s": 0.001} if slowly else {})
        assert again.wait() == 0, again.errors
        assert_equal_runs(unbroken(), run)
        hits.append((number, where))
        shutil.rmtree(run)
        if len(hits) == asked:
            break
    kinds = Counter(signal.Signals(number).name for number, _ in hits)
    tell(
        "SIGTERM, SIGINT, SIGUSR1 at a random moment of a phase",
        asked=asked,
        injected=len(hits),
        where=[where for _, where in hits],
        outcome=f"each exited with 75, saved, after {slowest_s:.1f} s at most, and went on"
        f" bit-equal ({', '.join(f'{name} {count}' for name, count in kinds.items())})",
    )
