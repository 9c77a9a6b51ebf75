"""How every verb ends: one `error:` line, its `hint:` lines, and an exit code.

Library code raises; only verbs print. A user's mistake is a `ValueError` (or an `OSError` from the
system) whose text can stand alone; what to do about it follows on a line of its own that begins
with `hint:`, or is attached with `add_note`. A Python warning becomes a `warning:` line. Everything
goes to stderr, so that stdout carries data alone. Any other exception is our own bug and keeps its
traceback.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.exceptions import CycloptsError

AnyError = TypeVar("AnyError", bound=Exception)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: the work is saved, call again
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_FLAGS = ("--from-counts", "--json", "--quiet", "--resume")
"""Options without a value, so that what follows is none."""

AUTO = ["--resume", "auto"]


class UsageError(ValueError):
    """A command line that cannot be meant; ends the command with exit code 2."""


def with_hint(error: AnyError, hint: str) -> AnyError:
    """Attaches `hint` to `error` and gives it back, so that it can be raised in one line."""
    error.add_note(hint)
    return error


def import_extra(module: str, *, extra: str) -> Any:  # noqa: ANN401  a module of any kind
    """A module of a package that comes with an extra of minillm only.

    Raises:
        ValueError: If it is not there, with the command that adds it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        hint = f"add it from the checkout: uv pip install -e '.[{extra}]'"
        raise with_hint(ValueError(f"the package {error.name} is not installed"), hint) from error


def scaled(value: float, unit: str = "") -> str:
    """Three digits and a prefix: 124 M, 7.05 GB."""
    prefixes = ["", "k", "M", "G", "T", "P"] if unit else ["", "k", "M", "B", "T", "Q"]
    for prefix in prefixes:
        if value < 999.5 or prefix == prefixes[-1]:
            digits = 0 if value == int(value) and not prefix else max(0, 3 - len(str(int(value))))
            return f"{value:.{digits}f} {prefix}{unit}".rstrip()
        value /= 1000
    raise AssertionError("the last prefix takes every value")


def say(text: str) -> None:
    """Writes one line for a human to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  the one place that prints


def report(error: BaseException) -> None:
    """Prints `error` and its hints to stderr."""
    say(f"error: {describe(error)}")
    for note in getattr(error, "__notes__", []):
        say(f"hint: {note}")


def describe(error: BaseException) -> str:
    """The text of `error`; an `OSError` names the path first, in the words of the system."""
    if isinstance(error, OSError) and error.strerror:
        path = f"`{error.filename}`: " if error.filename else ""
        return path + error.strerror.lower()
    return str(error) or type(error).__name__


def run(app: App, arguments: Sequence[str] | None = None) -> int:
    """Runs one command to its end and returns its exit code.

    Args:
        app: The command. Its function returns an exit code, or nothing for success.
        arguments: The words after the command's name; by default those of the process.

    Returns:
        0 done, 1 failed, 2 wrong usage, 75 saved and resumable, 130 interrupted.
    """
    from cyclopts.exceptions import CycloptsError  # noqa: PLC0415  only verbs need it

    app.suppress_keyboard_interrupt = False  # Ctrl-C is reported here, not swallowed there
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = app(
                _spelled(sys.argv[1:] if arguments is None else list(arguments)),
                result_action="return_value",
                exit_on_error=False,
                error_formatter=_format_parse_error,
            )
    except CycloptsError:
        return EXIT_USAGE
    except UsageError as error:
        report(error)
        return EXIT_USAGE
    except (ValueError, OSError) as error:
        report(error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        say("error: interrupted")
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0


def _spelled(words: Sequence[str]) -> list[str]:
    """Spells anew what the parser does not understand.

    That is a lone `-` among the files, which it takes for an option, as `/dev/stdin`; and
    `--resume auto`, a flag that can have a value, as `--resume-auto`.
    """
    auto = [index for index in range(len(words)) if words[index : index + 2] == AUTO]
    words = [
        "--resume-auto" if index in auto else word
        for index, word in enumerate(words)
        if index - 1 not in auto
    ]
    return [
        "/dev/stdin" if word == "-" and not _takes_value(before) else word
        for before, word in zip(["", *words], words, strict=False)
    ]


def _takes_value(word: str) -> bool:
    return word.startswith("--") and word not in _FLAGS and not word.startswith("--no-")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """One line without a place in the code: it is about a setting."""
    say(f"warning: {message}")


def _format_parse_error(error: CycloptsError) -> str:
    """The parser's message in the house style: lower case, no full stop, the guess as a hint."""
    fact, _, guess = str(error).strip().partition(" Did you mean ")
    fact = fact[:1].lower() + fact[1:].rstrip(".")
    guess = guess.partition("?")[0].strip("\"'")
    return f"error: {fact}" + (f"\nhint: did you mean `{guess}`?" if guess else "")
