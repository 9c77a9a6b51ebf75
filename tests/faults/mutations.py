"""Breaks each promise on purpose, one after the other: a test has to notice.

    python tests/faults/mutations.py [WORD ...]

Each line of the table changes a few words in a copy of the package; the test that is named must
pass without and fail with the change. A test that passes with it is no test of that promise. With
WORDs only lines whose promise has one of them. Brings docs/mutations.md up to date.
"""

# ruff: noqa: T201

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "minillm"
REPORT = ROOT / "docs" / "mutations.md"
PATIENCE_S = 900


class Mutation(NamedTuple):
    """A promise, what breaks it (file, old text, new text), and the test that notices."""

    promise: str
    file: str
    old: str
    new: str
    test: str


POINTS = "tests/faults/test_save_points.py"
DAMAGE = "tests/faults/test_damage.py::test_damage_of_a_"
RESUME = "tests/e2e/test_resume.py::test_resumed_run_is_bit_equal_to_unbroken_run[changes0-1]"
KILLS = "tests/faults/test_kills.py"
DISK = (
    "tests/faults/test_full_disk.py"
    "::test_run_whose_disk_fails_keeps_what_it_had_and_goes_on_bit_equal"
)
FINITE = (
    "tests/faults/test_not_finite.py"
    "::test_what_is_not_finite_is_never_saved_and_the_policy_is_followed"
)
MUTATIONS = [
    Mutation(
        "weights are on the disk before their checkpoint has its name",
        "checkpoint/files.py",
        "    sync(path)\n",
        "",
        POINTS,
    ),
    Mutation(
        "so are the manifest, state and configuration",
        "files.py",
        "        path.write_bytes(content)\n        sync(path)\n",
        "        path.write_bytes(content)\n",
        POINTS,
    ),
    Mutation(
        "so are the names of its files",
        "files.py",
        "        sync(aside)\n",
        "        if not aside.is_dir():\n            sync(aside)\n",
        POINTS,
    ),
    Mutation(
        "what replaces a file is on the disk before it has its name",
        "files.py",
        "        sync(aside)\n        aside.replace",
        "        aside.replace",
        "tests/unit/test_files.py::test_bytes_reach_the_disk_before_the_name_does_and_the_name"
        "_before_the_end",
    ),
    Mutation(
        "rotation comes after the new checkpoint",
        "checkpoint/folder.py",
        "    remove_temporary(run_folder)\n    _check_space",
        "    remove_temporary(run_folder)\n"
        "    for path in list_checkpoints(run_folder):\n        _remove(path)\n    _check_space",
        POINTS,
    ),
    Mutation(
        "the best checkpoint stays",
        "checkpoint/folder.py",
        "        kept.add(best)\n",
        "",
        "tests/unit/checkpoint/test_folder.py::test_the_best_and_multiples_stay",
    ),
    Mutation(
        "a checkpoint's files are held against the manifest",
        "checkpoint/folder.py",
        'if sha256_of(path) != facts["sha256"]:',
        "if False:",
        DAMAGE + "checkpoint_is_found_when_it_is_loaded",
    ),
    Mutation(
        "the manifest is held against its own hash",
        "checkpoint/folder.py",
        "if version != 1 and (path",
        "if False and (path",
        DAMAGE + "checkpoint_is_found_when_it_is_loaded",
    ),
    Mutation(
        "a token file is held against its checksums",
        "data/token_file.py",
        "        self.verify()\n        if self.manifest",
        "        if self.manifest",
        DAMAGE + "token_file_is_found_before_training",
    ),
    Mutation(
        "a tokenizer is held against what it wrote",
        "data/token_file.py",
        "self.manifest.tokenizer_sha256 != sha256:",
        "False:",
        "tests/unit/data/test_token_file.py::test_another_tokenizer_is_refused",
    ),
    Mutation(
        "random generators are put back",
        "train/saving.py",
        '    _restore_generators(run, checkpoint.tensors("rng"))\n',
        "",
        RESUME,
    ),
    Mutation(
        "the optimizer's state is put back",
        "train/saving.py",
        '    load_optimizer_tensors(run.model, run.optimizer, checkpoint.tensors("optimizer"))\n',
        "",
        RESUME,
    ),
    Mutation(
        "a resumed run reads on where it was",
        "train/step.py",
        "first = (run.step + run.skipped_steps) * micro_steps",
        "first = (run.step - max(0, run.saved_step)) * micro_steps",
        RESUME,
    ),
    Mutation(
        "skipped batches stay skipped",
        "train/saving.py",
        'int(checkpoint.state.get("skipped_steps", 0))',
        "0",
        "tests/e2e/test_health.py::test_a_rewound_run_resumes_bit_equal",
    ),
    Mutation(
        "metrics are cut back to the checkpoint",
        "track/metrics.py",
        "if place(record) < (step, True)]",
        "if True]",
        KILLS,
    ),
    Mutation(
        "samples are cut back to the checkpoint",
        "train/setup.py",
        "    cut_back_samples(run.folder, run.step)\n",
        "",
        DISK,
    ),
    Mutation(
        "what a kill left half-written goes",
        "train/session.py",
        "            remove_asides(config.train.out_dir)\n",
        "            pass\n",
        KILLS,
    ),
    Mutation(
        "a run folder has one process",
        "track/lock.py",
        "        try:\n            self._lock()\n",
        "        try:\n            pass\n",
        "tests/faults/test_two_processes.py",
    ),
    Mutation(
        "a loss or gradient that is not finite is not applied",
        "train/health.py",
        "if not run.bad_steps.item():",
        "if True:",
        FINITE,
    ),
    Mutation(
        "a weight that is not finite is not saved",
        "train/saving.py",
        "if not tensor.isfinite().all():",
        "if False:",
        FINITE,
    ),
    Mutation(
        "going back is bounded",
        "train/health.py",
        "run.rewinds == settings.max_rewinds",
        "False",
        "tests/e2e/test_health.py::test_rewinding_is_bounded",
    ),
    Mutation(
        "evaluation listens to signals",
        "train/evaluate.py",
        "            if is_stopped():\n                return None\n",
        "",
        "tests/unit/train/test_evaluate.py::test_stopped_evaluation_gives_nothing",
    ),
    Mutation(
        "a stopped run saves",
        "train/loop.py",
        "        if run.saved_step != run.step:\n            save(run)\n",
        "        if False:\n            save(run)\n",
        "tests/faults/test_signals.py",
    ),
    Mutation(
        "half a checkpoint goes where the disk is full",
        "files.py",
        "            shutil.rmtree(aside, ignore_errors=True)\n",
        "            pass\n",
        DISK,
    ),
    Mutation(
        "micro-steps add up to one step",
        "train/step.py",
        "share = batch.n_targets / max(1, n_targets)",
        "share = 1.0",
        "tests/e2e/test_pretrain.py::test_accumulation_equals_one_large_batch",
    ),
    Mutation(
        "the seed decides the order of the data",
        "data/batches.py",
        "Order(rows, weights, seed)",
        "Order(rows, weights, 0)",
        "tests/unit/data/test_batches.py::test_seed_and_epoch_decide_the_order",
    ),
    Mutation(
        "each epoch has an order of its own",
        "data/batches.py",
        "self._reader.read(index, ",
        "self._reader.read(index % 5, ",
        "tests/unit/data/test_batches.py",
    ),
    Mutation(
        "spread over processes, each gets Muon's whole product",
        "optim/muon.py",
        "        distributed.broadcast(part, group=mesh.get_group(), group_src=owner)\n",
        "",
        "tests/e2e/test_distributed.py::test_two_processes_train_as_one_does",
    ),
]


def copy_of_the_package(folder: Path, mutation: Mutation | None) -> Path:
    """The package with one change, below a folder for PYTHONPATH."""
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "minillm", ignore=skipped)
    if mutation is not None:
        file = folder / "minillm" / mutation.file
        source = file.read_text()
        if source.count(mutation.old) != 1:
            sys.exit(f"{mutation.file} holds {source.count(mutation.old)} times: {mutation.old}")
        file.write_text(source.replace(mutation.old, mutation.new))
    return folder


def run_tests(tests: list[str], mutation: Mutation | None) -> tuple[int, float, str]:
    """Exit code of pytest on a copy of the package, the seconds it took, and what it printed.

    In a fork, which has what takes longest to import already.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minillm-mutation-") as name:
        folder = Path(name)
        package = copy_of_the_package(folder / "python", mutation)
        if (child := os.fork()) == 0:
            output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.environ["PYTHONPATH"] = str(package)
            sys.path.insert(0, str(package))
            os.chdir(ROOT)
            import pytest

            options = [
                "-n",
                "0",
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "--basetemp",
                folder / "tmp",
            ]
            code = pytest.main([*map(str, options), *tests])
            os._exit(code)
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() - began > PATIENCE_S:
                os.kill(child, 9)
            time.sleep(0.1)
        code = os.waitstatus_to_exitcode(ended[1])
        return code, time.monotonic() - began, (folder / "output").read_text(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*")
    words = parser.parse_args().words
    wanted = [m for m in MUTATIONS if not words or any(word in m.promise for word in words)]

    import numpy  # noqa: F401  for the forks
    import torch  # noqa: F401

    tests = list(dict.fromkeys(mutation.test for mutation in wanted))
    code, took_s, output = run_tests(tests, None)
    if code:
        sys.exit(f"{output}\nnothing is broken, but a test fails")
    print(f"{len(tests)} tests pass on the package as it is, in {took_s:.0f} s", flush=True)
    rows, unnoticed = {}, []
    for mutation in wanted:
        code, took_s, output = run_tests([mutation.test], mutation)
        failed = [line for line in output.splitlines() if line.startswith("FAILED ")]
        is_noticed = code == 1 and len(failed) == 1
        print(
            f"{mutation.promise}: {'noticed' if is_noticed else code} ({took_s:.0f} s)", flush=True
        )
        if not is_noticed:
            unnoticed.append(mutation.promise)
            print(output[-3000:], flush=True)
            continue
        name = failed[0].removeprefix("FAILED ").split(" - ")[0]
        rows[mutation.promise] = f"| {mutation.promise} | `{mutation.file}` | `{name}` |"
    write_report(rows)
    if unnoticed:
        sys.exit(f"not noticed: {'; '.join(unnoticed)}")


def write_report(rows: dict[str, str]) -> None:
    """Brings the table up to date; lines of what was not broken this time stay."""
    before = REPORT.read_text().splitlines() if REPORT.exists() else []
    known = {line.split("|")[1].strip(): line for line in before if line.startswith("| ")} | rows
    table = [known[m.promise] for m in MUTATIONS if m.promise in known]
    report = [
        "# Promises broken on purpose\n",
        f"Written by `python tests/faults/mutations.py`, which breaks {len(table)} promises in a"
        " copy of the package, each by a change of a few words that its own table shows, and runs"
        " a test that must pass without and fail with it.\n",
        "| promise | broken in | noticed by |\n| --- | --- | --- |",
        *table,
    ]
    REPORT.write_text("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
