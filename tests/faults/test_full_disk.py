"""Writes that fail or come back short: a full disk, a quota, a broken disk, at any call."""

import errno
import os
import random
import shutil

import pytest

from minillm.checkpoint import list_checkpoints, verify_checkpoint

GROWS = ("open", "write", "truncate", "sync", "rename")
FAULTS = {
    # What happens to the call, by which error, and whether it goes on so.
    "ENOSPC": {"action": "fail half-way", "error": errno.ENOSPC, "lasting": 1},
    "EIO": {"action": "fail", "error": errno.EIO},
    "EDQUOT": {"action": "fail half-way", "error": errno.EDQUOT, "lasting": 1},
    "short writes": {"action": "short", "lasting": 1},
}
KINDS = {
    "step-": "checkpoint",
    ".latest": "latest, best",
    ".best": "latest, best",
    "metrics": "metrics",
    ".metrics": "metrics",
    "samples": "samples",
    ".samples": "samples",
    "": "other files of the run",
}
SETTINGS = {
    "train__max_train_steps": "8",
    "train__save_interval": "2",
    "train__eval_interval": "3",
    "train__generate_interval": "4",
}


def kind_of(call):
    name = call[1].strip("/")
    return next(kind for start, kind in KINDS.items() if name.startswith(start))


def takes_room(call):
    """Whether it must not fail unnoticed; a folder that is there need not be made."""
    return call[0] in GROWS or (call[0] == "mkdir" and ".tmp" in call[1])


def leftovers(folder):
    return [path for path in folder.rglob("*") if ".tmp" in path.name or path.name[0] == "."]


def positions(calls, count, rng):
    """Numbers of calls that take room, of all kinds alike; the last of the samples comes first."""
    by_kind = {}
    for number, call in enumerate(calls):
        if takes_room(call):
            by_kind.setdefault(kind_of(call), []).append(number)
    kinds = sorted(by_kind)
    last_sample = max(n for n in by_kind["samples"] if calls[n][0] == "write")
    chosen = [rng.choice(by_kind[kinds[i % len(kinds)]]) for i in range(count - 1)]
    return [last_sample, *chosen]


def check_error(child, folder, call=None):
    """It ended as a command does whose disk is full: one line that names the file."""
    (line,) = [line for line in child.errors.splitlines() if line.startswith("error: ")]
    assert str(folder) in line, (line, call)
    assert "Traceback" not in child.errors


def test_run_whose_disk_fails_keeps_what_it_had_and_goes_on_bit_equal(
    failing_disk, words_of, unbroken, tmp_path, assert_equal_runs, amount, tell
):
    run, rng = tmp_path / "run", random.Random(6)
    words = words_of(run, **SETTINGS)
    whole = failing_disk.pretrain(words, watched=run)
    assert whole.wait() == 0
    asked, hits, turn = amount(12, 130), [], 0
    places = positions(whole.page.calls, 3 * asked, rng)
    while len(hits) < asked:
        name = list(FAULTS)[turn % len(FAULTS)]
        shutil.rmtree(run)
        child = failing_disk.pretrain(words, watched=run, target=places[turn], **FAULTS[name])
        code, turn = child.wait(), turn + 1
        if not child.page.is_struck:
            continue
        call = child.page.calls[places[turn - 1]]
        if name == "short writes":
            assert code == 0, (call, child.errors)
        elif takes_room(call):
            assert code == 1, (name, call, child.errors)
            check_error(child, run, call)
        else:  # another order of the two threads: it was not to fail
            continue
        if run.exists():  # the folder itself may be what could not be made
            assert [path.name for path in leftovers(run)] in ([], [".lock"]), (name, call)
            for path in list_checkpoints(run):
                verify_checkpoint(path)
        again = failing_disk.pretrain(words)
        assert again.wait() == 0, (name, call, again.errors)
        assert_equal_runs(unbroken(**SETTINGS), run)
        hits.append(f"{name} in {kind_of(call)}")
    tell(
        "a run whose writes fail or come back short",
        asked=asked,
        injected=len(hits),
        where=hits,
        outcome="the error names the file, nothing half-made is left, each checkpoint is whole,"
        " and with room again the run ends bit-equal; short writes are completed",
    )


@pytest.fixture
def writing(letters_tokenizer, tmp_path):
    """Both calls that Rust writes by: their arguments, their files, and what was there before."""
    (tmp_path / "text.txt").write_text("the cat and the dog sat on the mat " * 4000)
    letters_tokenizer.save(tmp_path / "source.json")
    out = tmp_path / "out"
    source = str(tmp_path / "source.json")
    texts = [str(tmp_path / "text.txt")]
    return {
        "encode": {"texts": texts, "tokenizer": source, "out": str(out / "train.bin")},
        "save_tokenizer": {"source": source, "out": str(out / "tokenizer.json")},
    }, out


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("call", ["encode", "save_tokenizer"])
def test_file_that_cannot_be_written_leaves_the_old_one(failing_disk, writing, call, amount, tell):
    """The old ones are of another text: they stay, or are wholly the new ones."""
    arguments, out = writing
    out.mkdir()
    whole = failing_disk.start(call, arguments[call], watched=out)
    assert whole.wait() == 0, whole.errors
    new, calls = contents(out), whole.page.calls
    old = dict.fromkeys(new, b"old")
    rng, hits = random.Random(7), []
    asked = amount(4, 35)
    growing = [n for n, each in enumerate(calls) if takes_room(each)]
    for turn in range(asked):
        for name, content in old.items():
            (out / name).write_bytes(content)
        fault = list(FAULTS)[turn % len(FAULTS)]
        target = rng.choice(growing)
        child = failing_disk.start(
            call, arguments[call], watched=out, target=target, **FAULTS[fault]
        )
        code = child.wait()
        assert child.page.is_struck
        where = (fault, child.page.calls[target], child.errors)
        if fault == "short writes":
            assert code == 0, where
            assert contents(out) == new, where
        else:
            assert code == 1, where
            check_error(child, out)
            found = contents(out)
            for name, content in old.items():
                assert found.pop(name) in (content, new[name]), where
            # What is written whole stays for `encode --resume`, even where its name was refused.
            assert not found or ".train.state" in found, where
        again = failing_disk.start(call, arguments[call])
        assert again.wait() == 0, again.errors
        assert contents(out) == new
        hits.append(f"{fault} in {calls[target][0]}")
    tell(
        f"`{call}`, whose writes fail or come back short",
        asked=asked,
        injected=len(hits),
        where=hits,
        outcome="each file is the old one or the new one, nothing is half-made;"
        " short writes are completed",
    )


@pytest.mark.parametrize("call", ["encode", "save_tokenizer"])
def test_file_whose_writer_is_killed_is_the_old_one_or_the_new_one(
    failing_disk, writing, call, amount, tell
):
    arguments, out = writing
    out.mkdir()
    whole = failing_disk.start(call, arguments[call], watched=out)
    assert whole.wait() == 0
    new, calls, hits = contents(out), whole.page.calls, []
    points = [(number, "kill") for number in range(len(calls))]
    points += [(n, "kill half-way") for n, made in enumerate(calls) if made[0] == "write"]
    for number, action in points[:: amount(5, 1)]:
        shutil.rmtree(out)
        out.mkdir()
        for name in new:
            (out / name).write_bytes(b"old")
        child = failing_disk.start(call, arguments[call], watched=out, target=number, action=action)
        if child.wait() == -9:
            hits.append(child.page.calls[number][0])
        for name, content in new.items():
            assert (out / name).read_bytes() in (b"old", content), (name, child.page.calls)
        again = failing_disk.start(call, arguments[call])
        assert again.wait() == 0, again.errors
        found = contents(out)
        assert {name: found[name] for name in new} == new
    assert hits
    tell(
        f"SIGKILL of `{call}`, before its calls and half-way in its writes",
        asked=len(points[:: amount(5, 1)]),
        injected=len(hits),
        where=hits,
        outcome="each file is wholly the old one or the new one; once more gives the new one",
    )


def test_read_only_folder_is_named_and_left_as_it_is(
    failing_disk, words_of, tmp_path, amount, tell
):
    run = tmp_path / "run"
    stopped = {"train__max_train_steps": "4", "train__generate_interval": "0"}
    assert failing_disk.pretrain(words_of(run, **stopped)).wait() == 0
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    read_only = {"action": "fail", "error": errno.EROFS, "lasting": 2, "target": 0}
    more = words_of(run, train__max_train_steps="8")
    child = failing_disk.pretrain(more, watched=run, **read_only)
    assert child.wait() == 1
    check_error(child, run)
    assert os.strerror(errno.EROFS).lower() in child.errors.lower()
    words = ["--eval-only", f"--train.out_dir={run}"]
    reading = failing_disk.pretrain(words, watched=run, **read_only)
    assert reading.wait() == 0, reading.errors
    assert not reading.page.calls
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    new = tmp_path / "new"
    begun = failing_disk.pretrain(words_of(new), watched=new, **read_only)
    assert begun.wait() == 1
    check_error(begun, new)
    tell(
        "a read-only folder (EROFS), of a run to go on with and of a new one",
        asked=2,
        injected=2,
        where=["resuming", "beginning"],
        outcome="named, and nothing changed; --eval-only needs to write nothing",
    )
