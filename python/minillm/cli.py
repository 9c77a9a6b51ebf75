"""The two commands, `minillm` and `minillm-bpe`, assembled from the verbs.

A verb is a module with an `app`; it is imported only when it is called, so that `minillm --help`
answers at once and a broken optional dependency of one verb cannot hurt another.
"""

import sys

from cyclopts import App

from minillm import messages

VERBS = {
    "demo": "Text to tokenizer to model to samples, offline, in minutes.",
    "pretrain": "Train a model on a folder of token files.",
    "plan": "Parameters, memory and time of a run, before anything is allocated.",
    "generate": "Continue a prompt with a trained model.",
    "convert": "Turn a run into a Hugging Face folder, or one into a run.",
    "export": "Write a model as one file for other programs.",
}


def build_app() -> App:
    """The `minillm` command."""
    app = App(name="minillm", help="From raw text to a trained, served language model.")
    for verb, summary in VERBS.items():
        app.command(f"minillm.{verb}:app", name=verb, help=summary)
    return app


def main() -> None:
    """Entry point of `minillm`."""
    sys.exit(messages.run(build_app()))


def main_bpe() -> None:
    """Entry point of `minillm-bpe`."""
    from minillm.tokenizer.commands import app  # noqa: PLC0415  not needed by `minillm`

    sys.exit(messages.run(app))


if __name__ == "__main__":
    main()
