import io
import json

import pytest
from rich.console import Console

from minillm.train.screen import Screen, duration

STEP = {"step": 5, "loss": 2.5, "learning_rate": 3e-4, "tokens_per_s": 12_345, "memory_bytes": 2e9}
MFU = {"mfu": 0.412, "mfu_of": "the 989 TFLOP/s of h200 in dense bfloat16"}
VALIDATION = {"step": 5, "val_loss": 2.4, "val_bits_per_byte": 1.25}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59, "59s"), (185, "3m05s"), (3_725, "1h02m")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def print_one_step(*, as_json=False, **options):
    output = io.StringIO()
    console = Console(file=output, width=100, **options)
    with Screen(console, total_steps=10, first_step=4, as_json=as_json) as screen:
        screen.advance(5, elapsed_s=100.0)
        screen.show(STEP)
        screen.say("a [bold]word[/bold]")
    return output.getvalue()


def test_log_file_gets_plain_lines():
    lines = print_one_step().splitlines()
    assert lines[0] == "step 5/10  loss 2.5000  lr 3.00e-04  12.3 k tokens/s"
    assert lines[1] == "a [bold]word[/bold]"
    assert len(lines) == 2


def test_terminal_gets_a_live_block():
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
            screen.show({**STEP, "step": step})
    return output.getvalue()


def test_time_left_is_that_of_steps_after_the_first():
    first, second = show_two_steps().splitlines()
    assert "left" not in first
    assert second.endswith("tokens/s  8s left")


def test_live_block_tells_the_same_time_left():
    assert "8s left" in show_two_steps(force_terminal=True, color_system=None)


def test_quiet_console_gets_nothing():
    assert print_one_step(quiet=True) == ""


def test_block_holds_all_there_is_to_know():
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    with Screen(console, total_steps=10, first_step=0) as screen:
        screen.show({**STEP, "loss": 3.5})
        screen.show(VALIDATION)
        screen.show({**STEP, **MFU})
        screen.show_sample(5, "Tom\nran\x1b[31m " + "on " * 50)
    block = output.getvalue()
    assert "loss 2.5000  smoothed 2.9737  1.2500 bits per byte" in block
    rest = "MFU 41.2% of the 989 TFLOP/s of h200 in dense bfloat16  2.00 GB memory"
    assert f"lr 3.00e-04  12.3 k tokens/s  {rest}"[:99] in block
    assert "sample: Tom ran [31m on" in block
    assert "..." in block or "\u2026" in block


def test_log_gets_samples_and_utilization():
    output = io.StringIO()
    with Screen(Console(file=output, width=200), total_steps=10, first_step=0) as screen:
        screen.show({**STEP, **MFU})
        screen.show_sample(5, "Tom\nran")
    assert output.getvalue().splitlines() == [
        "step 5/10  loss 2.5000  lr 3.00e-04  12.3 k tokens/s  MFU 41.2% of " + MFU["mfu_of"],
        "step 5  sample: Tom",
        "ran",
    ]


def test_json_goes_to_stdout_and_people_read_on_without_a_block(capsys):
    output = print_one_step(as_json=True, force_terminal=True, color_system=None)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [STEP]
    assert "loss 2.5000" in output
    assert "\r" not in output
