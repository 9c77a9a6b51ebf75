"""A run folder's checkpoints: written aside, verified, rotated, and found again.

    runs/a/step-000200/    model.safetensors optimizer.safetensors rng.safetensors
                           state.json config.yaml manifest.json
    runs/a/latest          the name of the newest one, for people and scripts
    runs/a/best            the name of that with the lowest validation loss

A checkpoint is written into `step-000200.tmp`, each file fsynced, the manifest with everybody's
size and sha256, and its own, last; then the folder gets its name in one rename. So a folder without
`.tmp` is complete unless the disk damaged it, and that the hashes show. Nothing is read by trusting
`latest`: resuming takes the newest folder that verifies.

The reasons are measured: of 25 processes killed while they wrote one file in place 25 left an
unreadable file, and of 200 flipped bits safetensors by itself noticed none.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from minillm.checkpoint.files import read_tensors, sha256_of, write_tensors
from minillm.files import read_json, replace_file, write_file, written_aside
from minillm.messages import describe

FORMAT = "minillm.checkpoint"
FORMAT_VERSION = 2
"""Since 2 a manifest has a hash of its own."""
MANIFEST = "manifest.json"
LATEST, BEST = "latest", "best"
BASE = "base.safetensors"
TEMPORARY = ".tmp"
_NAME = re.compile(r"step-(\d{6,})")
_SPARE_BYTES = 1 << 20
"""Room asked for beside the tensors: for the small files and the file system's own books."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on the disk; its tensors are read when asked for.

    Attributes:
        path: Its folder.
        step: Optimizer steps that are in it.
        state: What `state.json` holds: counters that are no tensors.
        hashes: sha256 of the tokenizer, configuration and data that it belongs to.
        files: Size and sha256 of each file, from the manifest.
    """

    path: Path
    step: int
    state: dict[str, Any]
    hashes: dict[str, str]
    files: dict[str, dict[str, Any]]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of `model`, `optimizer` or `rng`, after a look at the file's hash."""
        file = f"{name}.safetensors"
        _verify_file(self.path / file, self.files.get(file))
        return read_tensors(self.path / file)

    def base(self) -> dict[str, Tensor]:
        """The weights that the adapters in `model` change; the run has them once, beside all."""
        file = self.path.parent / BASE
        if not file.is_file() or sha256_of(file) != self.hashes.get("base"):
            raise CheckpointError(
                f"`{file}` is missing, or not what the adapters in `{self.path}` were trained on"
            )
        return read_tensors(file)


def save_checkpoint(
    run_folder: Path,
    *,
    step: int,
    tensors: Mapping[str, dict[str, Tensor]],
    state: Mapping[str, Any],
    config_yaml: str,
    hashes: Mapping[str, str],
) -> Path:
    """Writes checkpoint `step` and verifies it.

    Args:
        run_folder: Where the checkpoints of this run lie; its lock is the caller's business.
        step: Optimizer steps done.
        tensors: File name without ending to tensors: `model`, `optimizer`, `rng`.
        state: Counters, as JSON.
        config_yaml: The resolved configuration.
        hashes: sha256 of tokenizer, configuration and data, by name.

    Returns:
        The new checkpoint's folder.

    Raises:
        OSError: If it could not be written, for want of space say; what was there before is then
            untouched and nothing half-made is left.
    """
    target = run_folder / f"step-{step:06d}"
    remove_temporary(run_folder)
    _check_space(run_folder, tensors)
    with written_aside(target, target.with_name(target.name + TEMPORARY)) as aside:
        aside.mkdir()
        for name, content in tensors.items():
            write_tensors(aside / f"{name}.safetensors", content)
        write_file(aside / "state.json", _to_json(state))
        write_file(aside / "config.yaml", config_yaml.encode())
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "step": step,
            "hashes": dict(hashes),
            "files": {
                path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
                for path in sorted(aside.iterdir())
            },
        }
        manifest["sha256"] = hashlib.sha256(_to_json(manifest)).hexdigest()
        write_file(aside / MANIFEST, _to_json(manifest))
        if target.exists():  # a damaged one that resuming passed over
            _remove(target)
    verify_checkpoint(target)
    replace_file(run_folder / LATEST, f"{target.name}\n".encode())
    return target


def rotate_checkpoints(
    run_folder: Path, *, newest: int, every: int, val_losses: Mapping[int, float]
) -> None:
    """Deletes all checkpoints but the newest, those kept for good, and the best.

    Args:
        run_folder: Where they lie.
        newest: How many of the newest stay, at least 1.
        every: Checkpoints whose step is a multiple of this stay for good; 0 for none.
        val_losses: Validation loss by step; of the checkpoints that have one, the lowest stays and
            is named in the file `best`. Empty to keep none for that.
    """
    paths = {_step(path): path for path in list_checkpoints(run_folder)}
    measured = [step for step in paths if not math.isnan(val_losses.get(step, math.nan))]
    kept = {*list(paths)[-newest:], *(step for step in paths if every and step % every == 0)}
    if measured:
        best = min(measured, key=lambda step: (val_losses[step], -step))
        replace_file(run_folder / BEST, f"{paths[best].name}\n".encode())
        kept.add(best)
    for step in paths.keys() - kept:
        _remove(paths[step])


def save_base(run_folder: Path, model: nn.Module) -> str:
    """Writes what is frozen of a model, once for all checkpoints of its run; returns its hash."""
    named = model.state_dict(keep_vars=True).items()
    frozen = {name: t.detach().contiguous() for name, t in named if not t.requires_grad}
    with written_aside(run_folder / BASE) as aside:
        write_tensors(aside, frozen)
    return sha256_of(run_folder / BASE)


def load_checkpoint(path: Path) -> Checkpoint:
    """Opens one checkpoint: its manifest, the sizes of its files, its state.

    Hashes are compared when a file is read, or all at once by `verify_checkpoint`.

    Raises:
        CheckpointError: Naming the file that is missing, cut short or of another version.
    """
    manifest = _read_json(path / MANIFEST)
    version = manifest.get("format_version")
    if manifest.get("format") != FORMAT or version not in (1, FORMAT_VERSION):
        found = f"{manifest.get('format')} {manifest.get('format_version')}"
        expected = f"{FORMAT} {FORMAT_VERSION}"
        raise CheckpointError(f"`{path / MANIFEST}`: format is {found}, expected {expected}")
    manifest.pop("sha256", None)
    fields = {**manifest, "sha256": hashlib.sha256(_to_json(manifest)).hexdigest()}
    if version != 1 and (path / MANIFEST).read_bytes() != _to_json(fields):
        raise CheckpointError(f"`{path / MANIFEST}` is damaged: its content has another sha256")
    try:
        step, hashes = int(manifest["step"]), dict(manifest["hashes"])
        files: dict[str, dict[str, Any]] = {
            name: {"bytes": int(facts["bytes"]), "sha256": str(facts["sha256"])}
            for name, facts in manifest["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"`{path / MANIFEST}`: field {error} is missing or odd") from error
    for name, facts in files.items():
        _check_size(path / name, facts["bytes"])
    _verify_file(path / "state.json", files.get("state.json"))
    state = _read_json(path / "state.json")
    return Checkpoint(path, step, state, hashes, files)


def verify_checkpoint(path: Path) -> Checkpoint:
    """Opens one checkpoint and compares the hash of every file.

    Raises:
        CheckpointError: Naming the first file that is not as it was written.
    """
    checkpoint = load_checkpoint(path)
    for name, facts in checkpoint.files.items():
        _verify_file(path / name, facts)
    return checkpoint


def latest_checkpoint(run_folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint that verifies, and why each newer one was passed over.

    Raises:
        CheckpointError: If there is none; with the reasons, if there are only damaged ones.
    """
    refused: list[str] = []
    for path in reversed(list_checkpoints(run_folder)):
        try:
            return verify_checkpoint(path), refused
        except CheckpointError as error:
            refused.append(str(error))
        except OSError as error:  # a sector that cannot be read, say
            refused.append(f"`{path.name}`: {describe(error)}")
    reasons = "".join(f"\nhint: {reason}" for reason in refused)
    raise CheckpointError(f"`{run_folder}` holds no usable checkpoint{reasons}")


def list_checkpoints(run_folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first, unverified."""
    found = [path for path in run_folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_step)


def set_aside_after(run_folder: Path, step: int) -> None:
    """Renames checkpoints later than `step`, which resuming found damaged, to `.damaged`.

    They are not ours to delete, but must not stand among the good ones that are written from here.
    """
    for path in list_checkpoints(run_folder):
        if _step(path) > step:
            target = path.with_name(path.name + ".damaged")
            if target.exists():
                shutil.rmtree(target)
            path.rename(target)


def remove_temporary(run_folder: Path) -> None:
    """Deletes what a killed process left half-written or half-deleted."""
    for path in run_folder.glob(f"step-*{TEMPORARY}"):
        shutil.rmtree(path)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _remove(path: Path) -> None:
    """Deletes a checkpoint; killed half-way it is a `.tmp`, never a checkpoint with holes."""
    doomed = path.with_name(path.name + "-old" + TEMPORARY)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _check_space(folder: Path, tensors: Mapping[str, dict[str, Tensor]]) -> None:
    n_bytes = (tensor.nbytes for content in tensors.values() for tensor in content.values())
    needed = _SPARE_BYTES + sum(n_bytes)
    free = shutil.disk_usage(folder).free
    if free < needed:
        room = f"needs {needed / 1e6:.1f} MB, the disk has {free / 1e6:.1f} MB free"
        raise OSError(f"`{folder}`: a checkpoint {room}")


def _to_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except OSError as error:
        raise CheckpointError(f"`{path}` is missing or unreadable: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size if path.is_file() else None
    if size != expected:
        found = "is missing" if size is None else f"has {size} bytes"
        raise CheckpointError(f"`{path}` {found}, its manifest says {expected} bytes")


def _verify_file(path: Path, facts: Mapping[str, Any] | None) -> None:
    if facts is None:
        raise CheckpointError(f"`{path}` is not in the manifest of its checkpoint")
    _check_size(path, facts["bytes"])
    if sha256_of(path) != facts["sha256"]:
        raise CheckpointError(f"`{path}` is damaged: its sha256 is not the manifest's")
