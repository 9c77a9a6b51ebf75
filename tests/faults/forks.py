"""Processes that are there at once, tell what they do, and can be struck at any call or moment.

    python forks.py < jobs > answers       with disk.so preloaded where calls are to fail

Importing what a run needs takes seconds, which a process that lives for half of one cannot have. So
this one imports it all and forks a child for each job, a line of JSON with

    call, arguments   one of `CALLS` and what it is called with
    board             the page of memory (disk.c) through which calls are counted and struck
    errors            where stderr goes
    signal            number, phase, entry and delay: sent by the child to itself, in that phase

and answers `started NUMBER`, and `ended NUMBER CODE` when that comes. The child writes the phase
that it is in at the end of its page, where it stays when the child is killed.
"""

import contextlib
import ctypes
import functools
import json
import mmap
import os
import select
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

BOARD_BYTES = 1024 + (1 << 20)
SLOT_BYTES = 64
SLOTS = ("main", "writer", "struck main", "struck writer", "time")
PAGE_BYTES = BOARD_BYTES + SLOT_BYTES * len(SLOTS)
"""Behind the page of disk.c: what the main thread does, what the one does that writes checkpoints,
both at the moment of a signal, and that moment."""

PHASES = {
    "minillm.train.session.build_run": "starting",
    "minillm.train.session.write_folder": "starting",
    "minillm.train.loop.dry_run": "dry run, compile",
    "minillm.train.loop.train_step": "training",
    "minillm.train.loop.evaluate": "evaluation",
    "minillm.train.loop.write_samples": "sampling",
    "minillm.train.loop.save": "copying for a save",
    "minillm.train.saving.save_checkpoint": "save",
    "minillm.train.saving.rotate": "rotation",
    "minillm.train.saving.write_report": "report",
    "minillm.train.loop.write_report": "report",
}


class Page:
    """The writing side of the slots."""

    def __init__(self, path):
        with Path(path).open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), PAGE_BYTES)

    def put(self, slot, text):
        at = BOARD_BYTES + SLOT_BYTES * SLOTS.index(slot)
        self.memory[at : at + SLOT_BYTES] = text.encode().ljust(SLOT_BYTES, b"\0")

    def get(self, slot):
        at = BOARD_BYTES + SLOT_BYTES * SLOTS.index(slot)
        return self.memory[at : at + SLOT_BYTES].rstrip(b"\0").decode()


def own_slot():
    return "main" if threading.current_thread() is threading.main_thread() else "writer"


def tell_phases(page, plan):
    """Makes each function of `PHASES` say when it is entered and left, and sends the signal."""
    entries = {}

    def strike():
        for slot in ("main", "writer"):
            page.put(f"struck {slot}", page.get(slot))
        page.put("time", repr(time.time()))
        os.kill(os.getpid(), plan["number"])

    def telling(function, phase):
        @functools.wraps(function)
        def call(*arguments, **options):
            slot = own_slot()
            before = page.get(slot)
            page.put(slot, phase)
            entries[phase] = entries.get(phase, 0) + 1
            if plan and (phase, entries[phase]) == (plan["phase"], plan["entry"]):
                timer = threading.Timer(plan["delay_s"], strike)
                timer.daemon = True
                timer.start()
            try:
                return function(*arguments, **options)
            finally:
                page.put(slot, before)

        return call

    for name, phase in PHASES.items():
        module, _, attribute = name.rpartition(".")
        function = getattr(sys.modules[module], attribute)
        setattr(sys.modules[module], attribute, telling(function, phase))


def compile_slowly(seconds):
    """Puts a model that takes long at its first call in the place of a compiled one."""
    import torch

    def compiled(model):
        called = []

        def forward(*arguments, **options):
            if not called:
                called.append(True)
                time.sleep(seconds)
            return model(*arguments, **options)

        return forward

    torch.compile = compiled


def pretrain(words, plots=True, slow_compile_s=0.0):
    """The verb, but for the pictures and the question for the commit, which take longest."""
    from minillm import messages
    from minillm.pretrain import app
    from minillm.track import processes, report

    processes._commit = lambda: None
    if not plots:
        report.draw_plots = draw_nothing
    if slow_compile_s:
        compile_slowly(slow_compile_s)
    return messages.run(app, words)


def draw_nothing(folder, records):
    for name in ("loss.png", "lr.png"):
        (folder / name).write_bytes(b"")


def save(folder, step, done):
    """A checkpoint and the rotation after it; `done` is written in between, when it is saved."""
    import torch

    from minillm.checkpoint import rotate_checkpoints, save_checkpoint

    save_checkpoint(
        Path(folder),
        step=step,
        tensors={"model": {"w": torch.full((40, 30), float(step))}, "optimizer": {}},
        state={"step": step, "elapsed_s": 0.5},
        config_yaml="model: {}\n",
        hashes={"tokenizer": "f" * 64},
    )
    Path(done).touch()
    rotate_checkpoints(Path(folder), newest=1, every=0, val_losses={step: 1.0})


def encode(texts, tokenizer, out):
    from minillm.tokenizer import Tokenizer

    Tokenizer.load(tokenizer).encode_files(texts, out)


def save_tokenizer(source, out):
    from minillm.tokenizer import Tokenizer

    Tokenizer.load(source).save(out)


CALLS = {f.__name__: f for f in (pretrain, save, encode, save_tokenizer)}


def work(job):
    """Does a job in the child; its exit code is that of a command."""
    errors = os.open(job["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    os.dup2(errors, 2)
    os.dup2(errors, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    page = Page(job["board"])
    tell_phases(page, job.get("signal"))
    with contextlib.suppress(AttributeError):  # not preloaded
        ctypes.CDLL(None).disk_watch(os.fsencode(job["board"]))
    try:
        code = CALLS[job["call"]](**job["arguments"])
    except (OSError, ValueError) as error:
        from minillm import messages

        messages.report(error)
        code = 1
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    os._exit(code or 0)


def main():
    # What a run would import when it comes to it, and the modules whose functions are watched.
    import matplotlib.figure  # noqa: F401
    import torch._dynamo

    import minillm.pretrain
    import minillm.train  # noqa: F401

    torch.set_num_threads(1)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    answer("ready")
    while True:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 1 << 10)
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    answer(f"ended {ended[0]} {os.waitstatus_to_exitcode(ended[1])}")
        if 0 in ready:
            line = os.read(0, 1 << 16)  # whole: the next comes when this one was answered
            if not line:
                return
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                work(json.loads(line))
            answer(f"started {child}")


def answer(line):
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
