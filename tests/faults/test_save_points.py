"""Saves that are cut off at each of their calls, by a kill or by a power cut.

A kill leaves what the calls before it have done. A power cut may also lose whatever was not yet
synced: contents of files, and names in folders. Of those the worst is played: all of it is lost.
"""

import shutil
from collections import Counter
from pathlib import Path, PurePath

import pytest

from minillm.checkpoint import latest_checkpoint, rotate_checkpoints, save_checkpoint
from minillm.files import remove_asides


def save_here(folder, step):
    save_checkpoint(
        folder,
        step=step,
        tensors={"model": {}},
        state={"step": step},
        config_yaml="model: {}\n",
        hashes={},
    )
    rotate_checkpoints(folder, newest=1, every=0, val_losses={step: 1.0})


@pytest.fixture(scope="module")
def before(forks, tmp_path_factory):
    """A run folder with checkpoint 1, a damaged 2, and what a kill left half-written."""
    folder = tmp_path_factory.mktemp("before")
    arguments = {"folder": str(folder / "run"), "done": str(folder / "done")}
    (folder / "run").mkdir()
    for step in (2, 1):
        assert forks.start("save", {**arguments, "step": step}).wait() == 0
        (folder / "run" / "step-000002").rename(folder / "kept") if step == 2 else None
    (folder / "kept").rename(folder / "run" / "step-000002")
    (folder / "run" / "step-000002" / "model.safetensors").write_bytes(b"damaged")
    (folder / "run" / "step-000003.tmp").mkdir()
    (folder / "run" / ".latest.0123abcd").write_text("half")
    return folder / "run"


def unsynced(calls):
    """After `calls`: numbers of files whose contents a power cut may lose, names, and renames."""
    dirty, made, renamed = set(), set(), []
    for kind, first, second, number in calls:
        path, target = PurePath(first.strip("/")), PurePath(second.strip("/"))
        if kind in ("write", "truncate"):
            dirty.add(int(number))
        if kind == "open":
            made.add(path)
        if kind == "sync":
            dirty.discard(int(number))
            made = {each for each in made if each.parent != path}
            renamed = [each for each in renamed if each[1].parent != path]
        if kind == "rename":
            made = {target / p.relative_to(path) if p.is_relative_to(path) else p for p in made}
            made.add(target)
            renamed.append((path, target))
    return dirty, made, renamed


def power_cut(run, calls, copy, *, names):
    """What may be left of `run` after `calls`: contents are gone, and with `names` names, too."""
    dirty, made, renamed = unsynced(calls)
    shutil.copytree(run, copy)
    for path in run.rglob("*"):
        if path.is_file() and path.stat().st_ino in dirty:
            (copy / path.relative_to(run)).write_bytes(b"")
    for path in filter(Path.is_file, (copy / path for path in made if names)):
        path.unlink()
    for old, new in reversed(renamed if names else []):
        if (copy / new).is_dir() and not (copy / old).exists():
            (copy / new).rename(copy / old)
    return copy


def check_what_is_left(folder, *, has_returned, point):
    """Whatever was done or lost: there is a whole checkpoint, and what follows cleans up."""
    checkpoint, _ = latest_checkpoint(folder)
    assert checkpoint.step in ((2,) if has_returned else (1, 2)), point
    remove_asides(folder)  # as a run does when it begins
    save_here(folder, 3)
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["best", "latest", "step-000003"], point


def test_save_cut_off_at_any_call_leaves_a_whole_checkpoint(failing_disk, before, tmp_path, tell):
    points, calls = [], None
    for number in range(1000):
        for action in ("kill", "kill half-way"):
            if action == "kill half-way" and calls and calls[-1][0] != "write":
                continue
            run = tmp_path / "run"
            shutil.copytree(before, run)
            arguments = {"folder": str(run), "step": 2, "done": str(tmp_path / "done")}
            child = failing_disk.start("save", arguments, watched=run, target=number, action=action)
            code, has_returned = child.wait(), (tmp_path / "done").exists()
            calls = child.page.calls
            assert code in (0, -9), child.errors
            if code == 0:
                break
            point = (action, *calls[-1])
            points.append(point)
            done = calls[: -1 if action == "kill" else None]
            for names in (False, True):
                cut = power_cut(run, done, tmp_path / "power cut", names=names)
                check_what_is_left(cut, has_returned=has_returned, point=point)
                shutil.rmtree(cut)
            check_what_is_left(run, has_returned=has_returned, point=point)
            shutil.rmtree(run)
            (tmp_path / "done").unlink(missing_ok=True)
        if code == 0:
            break
    assert code == 0
    assert has_returned
    kinds = Counter(kind for _, kind, *_ in points)
    assert kinds.keys() >= {"open", "write", "truncate", "sync", "rename", "remove", "mkdir"}
    for fault, number in (("SIGKILL", len(points)), ("power cut, two each", 2 * len(points))):
        tell(
            f"{fault}, before each call of a save and its rotation, and half-way in each write",
            asked=number,
            injected=number,
            where=[kind for _, kind, *_ in points],
            outcome="a whole checkpoint each time, the new one once its save had returned;"
            " what goes on from there leaves nothing half-made",
        )
