import json
import subprocess
import sys

import pytest

from minillm import messages
from minillm.plan import DEVICES, app


@pytest.fixture
def call(capsys):
    def run_verb(*words):
        code = messages.run(app, [str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_verb


def test_numbers_are_printed_with_their_units(call):
    code, out, err = call("--model", "gpt2", "--dtype", "bfloat16", "--batch-size", "8")
    assert code == 0
    assert not err
    lines = [line.split("  ") for line in out.splitlines()]
    shown = {line[1]: line[-1].strip() for line in lines if len(line) > 2}
    assert shown["parameters"] == "124 M"
    assert shown["gradients"] == "498 MB"
    assert shown["flops per token"] == "854 M"
    assert shown["tokens per second"] == "463 k"  # 0.4 * 989e12 / 854e6
    assert shown["chinchilla tokens"] == "2.49 B"


def test_json_holds_the_plain_numbers(call):
    code, out, _ = call("--model", "gpt2", "--json")
    assert code == 0
    assert json.loads(out)["model"]["parameters"] == 124_439_808


def test_the_dial_and_single_fields_work_as_in_pretrain(call):
    _, out, _ = call("--model.depth", 2, "--model.vocab_size", 1000, "--json")
    assert json.loads(out)["model"]["embedding_parameters"] == 1000 * 128


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_experts_of_any_width_can_be_planned(call, dtype):
    widths = ("--model.d_model", 90, "--model.n_heads", 3, "--model.d_expert", 50)
    code, out, err = call("--model", "nano", "--model.n_experts", 4, *widths, "--dtype", dtype)
    assert (code, err) == (0, "")
    assert "activations" in out


def test_a_run_that_does_not_fit_is_warned_of(call):
    code, _, err = call("--model", "1b", "--device", "rtx4090")
    assert code == 0
    assert "warning: training needs" in err
    assert "rtx4090 has 24 GB" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "h20"], "unknown device `h20`, expected one of h200, h100"),
        (["--mfu", "0"], "Must be > 0"),
        (["--model", "gpt3"], "unknown model preset `gpt3`"),
        (["--model.depth", "0"], "`model.depth` on the command line is 0, expected more than 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, words, message):
    code, _, err = call(*words)
    assert code == messages.EXIT_USAGE
    assert message in err


def test_every_device_is_faster_in_bfloat16_or_equal():
    assert all(d.bfloat16_flops_per_s >= d.float32_flops_per_s for d in DEVICES.values())


def test_help_and_typos_do_not_import_torch():
    code = (
        "import sys; from minillm import messages, plan;"
        "codes = [messages.run(plan.app, ['--help']), messages.run(plan.app, ['--device', 'x'])];"
        "assert codes == [0, 2] and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
