import pytest

from minillm.config import ModelConfig, SampleConfig
from minillm.tokenizer import Tokenizer
from minillm.train.samples import append_samples, check_samples, cut_back_samples


def test_cut_back_forgets_samples_from_the_step_on(tmp_path):
    for step in (10, 20, 30):
        append_samples(tmp_path, step, [f"text {step}"])
    cut_back_samples(tmp_path, 20)
    assert (tmp_path / "samples.txt").read_text() == "=== step 10 ===\ntext 10\n\n"


def test_cut_back_leaves_earlier_samples_alone(tmp_path):
    append_samples(tmp_path, 10, ["a\nb", "c"])
    cut_back_samples(tmp_path, 11)
    assert (tmp_path / "samples.txt").read_text() == "=== step 10 ===\na\nb\n\nc\n\n"


def test_cut_back_leaves_nothing_of_samples_that_were_cut_off_anywhere(tmp_path):
    append_samples(tmp_path, 10, ["a\rb\r\n\u20ac"])
    kept = (tmp_path / "samples.txt").read_bytes()
    append_samples(tmp_path, 20, ["\u20ac"])
    whole = (tmp_path / "samples.txt").read_bytes()
    for length in range(len(kept), len(whole) + 1):
        (tmp_path / "samples.txt").write_bytes(whole[:length])
        cut_back_samples(tmp_path, 20)
        assert (tmp_path / "samples.txt").read_bytes() == kept


def check(specials=("<|endoftext|>",), **changes):
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], specials, pattern=None)
    model = ModelConfig(vocab_size=257, context_length=16)
    check_samples(SampleConfig(**changes), tokenizer, model, None)


@pytest.mark.parametrize(
    ("specials", "prompt", "message"),
    [
        (["<|endoftext|>"], "a" * 16, r"^sample.prompts\[1\] has 17 tokens, the model"),
        ([], "", r"^sample.prompts\[1\] has no tokens"),
    ],
)
def test_prompt_that_cannot_be_read_is_refused(specials, prompt, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(specials, prompts=("a", prompt))
    assert caught.value.__notes__[-1].startswith("set another by --sample.prompts")


def test_settings_that_cannot_be_sampled_by_are_refused():
    with pytest.raises(ValueError, match="logit_bias names id 257, vocab_size is 257"):
        check(logit_bias={257: 1.0})
    with pytest.raises(ValueError, match="stop string is empty"):
        check(stop=("",))
    check(prompts=(), logit_bias={256: 1.0}, stop=("a",))
