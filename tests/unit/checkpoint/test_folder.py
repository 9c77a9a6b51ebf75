import errno
import json
import os
import shutil

import pytest
import torch

from minillm.checkpoint import (
    CheckpointError,
    folder,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    rotate_checkpoints,
    save_checkpoint,
    set_aside_after,
    verify_checkpoint,
)


def save(run_folder, step, *, keep=2):
    path = save_checkpoint(
        run_folder,
        step=step,
        tensors={"model": {"weight": torch.full((4, 3), float(step))}, "optimizer": {}},
        state={"step": step, "elapsed_s": 0.5},
        config_yaml="model: {}\n",
        hashes={"tokenizer": "f" * 64},
    )
    rotate_checkpoints(run_folder, newest=keep, every=0, val_losses={})
    return path


def test_what_was_saved_is_read_back(tmp_path):
    checkpoint = load_checkpoint(save(tmp_path, 7))
    assert checkpoint.step == 7
    assert checkpoint.state == {"step": 7, "elapsed_s": 0.5}
    assert checkpoint.hashes == {"tokenizer": "f" * 64}
    assert torch.equal(checkpoint.tensors("model")["weight"], torch.full((4, 3), 7.0))
    assert checkpoint.tensors("optimizer") == {}
    assert (tmp_path / "latest").read_text() == "step-000007\n"


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3, 1_000_000):
        save(tmp_path, step)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000003", "step-1000000"]


def steps_kept(tmp_path, val_losses, **wanted):
    for step in range(1, 8):
        save(tmp_path, step, keep=9)
    rotate_checkpoints(tmp_path, **{"newest": 1, "every": 0, **wanted}, val_losses=val_losses)
    return [int(path.name[-1]) for path in list_checkpoints(tmp_path)]


def test_the_best_and_multiples_stay(tmp_path):
    losses = {0: 1.0, 2: 3.0, 4: 2.0, 5: float("nan"), 6: 2.5, 9: 0.1}
    assert steps_kept(tmp_path, losses, every=3) == [3, 4, 6, 7]
    assert (tmp_path / "best").read_text() == "step-000004\n"


def test_of_equals_the_later_is_the_best(tmp_path):
    assert steps_kept(tmp_path, {2: 1.0, 4: 1.0, 6: 2.0}) == [4, 7]


def test_without_losses_none_is_the_best(tmp_path):
    assert steps_kept(tmp_path, {}, newest=2) == [6, 7]
    assert not (tmp_path / "best").exists()


def test_files_are_as_private_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        path = save(tmp_path, 1)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o644}


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("cut", ["missing", "empty", "short"])
def test_cut_file_is_named(tmp_path, name, cut):
    path = save(tmp_path, 1) / name
    if cut == "missing":
        path.unlink()
    else:
        os.truncate(path, 0 if cut == "empty" else path.stat().st_size - 3)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(path.parent)


def test_a_manifest_of_the_first_format_is_read(tmp_path):
    manifest = save(tmp_path, 1) / "manifest.json"
    fields = {**json.loads(manifest.read_text()), "format_version": 1}
    del fields["sha256"]
    manifest.write_text(json.dumps(fields))
    assert verify_checkpoint(manifest.parent).step == 1


def test_newer_format_is_refused(tmp_path):
    manifest = save(tmp_path, 1) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 9}))
    with pytest.raises(CheckpointError, match=r"format is minillm\.checkpoint 9, expected"):
        load_checkpoint(manifest.parent)


def test_newest_good_one_is_found_behind_a_damaged_one(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "model.safetensors").unlink()
    checkpoint, refused = latest_checkpoint(tmp_path)
    assert checkpoint.step == 1
    assert len(refused) == 1
    assert "step-000002/model.safetensors` is missing" in refused[0]


def test_one_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    def read(path):
        if path.parent.name == "step-000002":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return original(path)

    original = folder.sha256_of
    save(tmp_path, 1)
    save(tmp_path, 2)
    monkeypatch.setattr(folder, "sha256_of", read)
    checkpoint, refused = latest_checkpoint(tmp_path)
    assert checkpoint.step == 1
    assert "input/output error" in refused[0]


def test_damaged_one_that_was_set_aside_does_not_count_in_rotation(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 9) / "model.safetensors").unlink()
    set_aside_after(tmp_path, 1)
    save(tmp_path, 2, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000002"]
    assert (tmp_path / "step-000009.damaged").is_dir()


def test_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"a checkpoint needs 1\.0 MB, the disk has 0\.0 MB free"):
        save(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []
