import io

import pytest
from rich.console import Console

from minillm.train.screen import Screen, duration, short


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (950, "950"), (12_345, "12.3K"), (1.2e6, "1.2M"), (3e9, "3B")]
)
def test_large_numbers_are_short(number, text):
    assert short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59, "59s"), (185, "3m05s"), (3_725, "1h02m")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def print_one_step(**options):
    output = io.StringIO()
    console = Console(file=output, width=100, **options)
    with Screen(console, total_steps=10, first_step=4) as screen:
        screen.advance(5, elapsed_s=100.0)
        screen.show(5, loss=2.5, learning_rate=3e-4, tokens_per_s=12_345)
        screen.say("a [bold]word[/bold]")
    return output.getvalue()


def test_log_file_gets_plain_lines():
    lines = print_one_step().splitlines()
    assert lines[0] == "step 5/10  loss 2.5000  lr 3.00e-04  12.3K tokens/s"
    assert lines[1] == "a [bold]word[/bold]"
    assert len(lines) == 2


def test_terminal_gets_a_live_line():
    output = print_one_step(force_terminal=True, color_system=None)
    assert "step 5/10" in output
    assert "loss 2.5000" in output
    assert "\r" in output


def show_two_steps(**options):
    """The first takes 100 seconds, the second two."""
    output = io.StringIO()
    console = Console(file=output, width=100, **options)
    with Screen(console, total_steps=10, first_step=4) as screen:
        for step, elapsed_s in ((5, 100.0), (6, 102.0)):
            screen.advance(step, elapsed_s=elapsed_s)
            screen.show(step, loss=2.5, learning_rate=3e-4, tokens_per_s=1)
    return output.getvalue()


def test_time_left_is_that_of_steps_after_the_first():
    first, second = show_two_steps().splitlines()
    assert "left" not in first
    assert second.endswith("tokens/s  8s left")


def test_live_line_tells_the_same_time_left():
    assert "8s left" in show_two_steps(force_terminal=True, color_system=None)


def test_quiet_console_gets_nothing():
    assert print_one_step(quiet=True) == ""
