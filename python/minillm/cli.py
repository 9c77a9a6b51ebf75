"""The two commands, `minillm` and `minillm-bpe`, assembled from the verbs.

A verb is a module with an `app`; it is imported only when it is called, so that `minillm --help`
answers at once and a broken optional dependency of one verb cannot hurt another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from minillm import messages

if TYPE_CHECKING:
    from cyclopts import App

VERBS = {
    "demo": "Text to tokenizer to model to samples, offline, in minutes.",
    "pretrain": "Train a model on a folder of token files.",
    "sft": "Fine-tune a model on conversations.",
    "plan": "Parameters, memory and time of a run, before anything is allocated.",
    "runs": "List and compare runs.",
    "generate": "Continue a prompt with a trained model.",
    "chat": "Talk with a fine-tuned model.",
    "convert": "Turn a run into a Hugging Face folder, or one into a run.",
    "export": "Write a model as one file for other programs.",
}


def build_app() -> App:
    """The `minillm` command."""
    from cyclopts import App  # noqa: PLC0415  see `_end_with`

    app = App(name="minillm", help="From raw text to a trained, served language model.")
    for verb, summary in VERBS.items():
        app.command(f"minillm.{verb}:app", name=verb, help=summary)
    return app


def _bpe_app() -> App:
    from minillm.tokenizer.commands import app  # noqa: PLC0415  not needed by `minillm`

    return app


def main() -> None:
    """Entry point of `minillm`."""
    _end_with(build_app)


def main_bpe() -> None:
    """Entry point of `minillm-bpe`."""
    _end_with(_bpe_app)


def _end_with(build: Callable[[], App]) -> None:
    """Runs the command that `build` imports; Ctrl-C ends it quietly from the first moment on."""
    try:
        code = messages.run(build())
    except KeyboardInterrupt:
        messages.say("error: interrupted")
        code = messages.EXIT_INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
