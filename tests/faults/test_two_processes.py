"""Several processes that want the same run folder."""

import time


def test_second_process_is_refused_and_the_first_is_not_disturbed(
    forks, words_of, unbroken, tmp_path, assert_equal_runs, amount, tell
):
    run, refused, attempts = tmp_path / "run", [], 0
    first = forks.pretrain(words_of(run))
    while first.page.phase() not in ("training", "evaluation"):
        assert first.is_alive()
        time.sleep(0.001)
    while first.is_alive() and attempts < amount(2, 10):
        second = forks.pretrain(words_of(run))
        attempts += 1
        if second.wait() == 1:
            refused.append(first.page.phase())
            assert f"run folder `{run}` is in use by process {first.pid}" in second.errors
        else:  # the first was done
            assert "is complete" in second.errors
    assert first.wait() == 0, first.errors
    assert refused
    assert_equal_runs(unbroken(), run)
    tell(
        "a second process on a run folder",
        asked=attempts,
        injected=len(refused),
        where=refused,
        outcome="refused by the first one's number; the first ends bit-equal",
    )


def test_of_processes_that_begin_at_once_one_trains(
    forks, words_of, unbroken, tmp_path, assert_equal_runs, amount, tell
):
    turns, kinds = amount(1, 10), []
    for turn in range(turns):
        run = tmp_path / str(turn)
        together = [forks.pretrain(words_of(run)) for _ in range(3)]
        codes = [child.wait() for child in together]
        for child, code in zip(together, codes, strict=True):
            kinds.append("trained" if code == 0 else "refused")
            # Or one has begun it while another looked whether there is one to go on with.
            others = ("is in use by process", "already holds a run")
            assert code == 0 or any(words in child.errors for words in others), child.errors
        assert 0 in codes
        assert_equal_runs(unbroken(), run)
    tell(
        "three processes that begin a run at once",
        asked=turns,
        injected=turns,
        where=kinds,
        outcome="one trains, bit-equal; the others are refused, or find it complete",
    )
