import warnings
from pathlib import Path

import pytest
from cyclopts import App

from minillm import messages


def run(function, *words):
    app = App(name="verb")
    app.default(function)
    return messages.run(app, words)


def test_value_error_is_one_line_with_its_hints(capsys):
    def verb() -> None:
        raise messages.with_hint(ValueError("d_model (7) is odd"), "take 8")

    assert run(verb) == messages.EXIT_FAILED
    assert capsys.readouterr().err == "error: d_model (7) is odd\nhint: take 8\n"


def test_system_error_names_the_path_first(capsys):
    def verb() -> None:
        Path("/nonexistent/file").read_text()

    assert run(verb) == messages.EXIT_FAILED
    assert capsys.readouterr().err == "error: `/nonexistent/file`: no such file or directory\n"


def test_usage_error_exits_with_2(capsys):
    def verb() -> None:
        raise messages.UsageError("--resume needs a run folder")

    assert run(verb) == messages.EXIT_USAGE
    assert capsys.readouterr().err == "error: --resume needs a run folder\n"


def test_a_lone_dash_is_standard_input_but_not_behind_an_option_with_a_value(capsys):
    def verb(*files: str, quiet: bool = False, table: bool = True, pattern: str = "") -> None:
        messages.say(f"{files} {quiet} {table} {pattern}")

    run(verb, "-", "--quiet", "-", "--no-table", "-", "--pattern", "x")
    assert capsys.readouterr().err == f"{('/dev/stdin',) * 3} True False x\n"
    run(verb, "--pattern", "-")
    assert "/dev/stdin" not in capsys.readouterr().err


def test_unknown_option_names_the_nearest(capsys):
    def verb(*, batch_size: int = 1) -> None: ...

    assert run(verb, "--batch-sze", "3") == messages.EXIT_USAGE
    assert capsys.readouterr().err == (
        "error: unknown option: --batch-sze\nhint: did you mean `--batch-size`?\n"
    )


def test_warning_is_one_line(capsys):
    def verb() -> None:
        warnings.warn("`a.b` has no effect", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run(verb) == 0
    assert capsys.readouterr().err == "warning: `a.b` has no effect\n"


def test_ctrl_c_exits_with_130(capsys):
    def verb() -> None:
        raise KeyboardInterrupt

    assert run(verb) == messages.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted\n"


def test_exit_code_of_the_verb_is_returned():
    assert run(lambda: 75) == messages.EXIT_RESUMABLE


def test_our_own_bug_keeps_its_traceback():
    def verb() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run(verb)
