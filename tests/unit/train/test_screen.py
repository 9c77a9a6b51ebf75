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
        screen.show(5, loss=2.5, learning_rate=3e-4, tokens_per_s=12_345)
        screen.say("a [bold]word[/bold]")
    return output.getvalue()


def test_log_file_gets_plain_lines():
    lines = print_one_step().splitlines()
    assert lines[0].startswith("step 5/10  loss 2.5000  lr 3.00e-04  12.3K tokens/s  ")
    assert lines[0].endswith("s left")
    assert lines[1] == "a [bold]word[/bold]"
    assert len(lines) == 2


def test_terminal_gets_a_live_line():
    output = print_one_step(force_terminal=True, color_system=None)
    assert "step 5/10" in output
    assert "loss 2.5000" in output
    assert "\r" in output


def test_quiet_console_gets_nothing():
    assert print_one_step(quiet=True) == ""
