import pytest
import torch

from minillm.config import ModelConfig
from minillm.infer import Sampler, absent_ids, generate
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer

SETTINGS = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop_ids": ()}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=40, context_length=16, d_model=32, n_layers=2, n_heads=2)
    model = Transformer(config).eval()
    # Sharper than at birth, so that a wrong cache shows in the tokens.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return model


def generate_slowly(model, ids, n, **settings):
    """No cache: the whole window is read anew for each token."""
    sampler = Sampler(**settings)
    length = model.config.context_length
    window, tokens = list(ids), []
    for _ in range(n):
        if len(window) > length:
            window = window[len(window) - (length - length // 2) :]
        with torch.no_grad():
            logits = model(torch.tensor([window]))[0, -1]
        tokens.append(sampler.draw(logits))
        window.append(tokens[-1])
    return tokens


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("prompt_length", [1, 7, 16])
def test_cached_tokens_equal_those_of_a_loop_without_cache(model, temperature, prompt_length):
    ids = list(range(prompt_length))
    settings = {"temperature": temperature, "top_k": 0, "top_p": 1.0, "seed": 3}
    expected = generate_slowly(model, ids, 50, **settings)  # three times over the context
    tokens = generate(model, ids, max_new_tokens=50, stop_ids=(), **settings)
    assert list(tokens) == expected


def test_full_context_goes_on_from_its_later_half(model):
    ids = list(range(16))
    tokens = list(generate(model, ids, max_new_tokens=2, **SETTINGS | {"temperature": 0.0}))
    window = [*ids, tokens[0]][-8:]
    with torch.no_grad():
        assert tokens[1] == int(model(torch.tensor([window]))[0, -1].argmax())


def test_tokens_come_one_by_one(model):
    stream = generate(model, [1], max_new_tokens=10**9, **SETTINGS)
    assert 0 <= next(stream) < 40


def test_stop_id_ends_the_text_and_is_not_part_of_it(model):
    free = list(generate(model, [1], max_new_tokens=30, **SETTINGS))
    stop = free[5]
    stopped = list(generate(model, [1], max_new_tokens=30, **SETTINGS | {"stop_ids": {stop}}))
    assert stopped == free[: free.index(stop)]


def test_ids_that_the_tokenizer_lacks_are_never_drawn(model):
    absent = [0, 2, *range(5, 40)]
    tokens = generate(model, [1], max_new_tokens=100, absent=absent, **SETTINGS)
    assert set(tokens) == {1, 3, 4}


def test_greedy_text_has_no_absent_ids_either(model):
    settings = SETTINGS | {"temperature": 0.0}
    free = list(generate(model, [1], max_new_tokens=1, **settings))
    assert free != list(generate(model, [1], max_new_tokens=1, absent=free, **settings))


def test_absent_ids_are_the_gaps_and_the_padding():
    vocab = {i: bytes([i]) for i in range(256)}
    tokenizer = Tokenizer(vocab, [], {"<|endoftext|>": 258}, pattern=None)
    assert absent_ids(tokenizer, 261) == [256, 257, 259, 260]


def test_no_tokens_asked_for_are_none(model):
    assert list(generate(model, [1], max_new_tokens=0, **SETTINGS)) == []


def test_prompt_is_not_changed(model):
    ids = [1, 2, 3]
    list(generate(model, ids, max_new_tokens=40, **SETTINGS))
    assert ids == [1, 2, 3]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "the prompt has no tokens"),
        ([0] * 17, r"the prompt has 17 tokens, the model's context_length is 16"),
        ([0, 40], "token 1 of the prompt is 40, vocab_size is 40"),
        ([-1], "token 0 of the prompt is -1, vocab_size is 40"),
    ],
)
def test_bad_prompt_is_refused_before_the_first_token(model, ids, message):
    with pytest.raises(ValueError, match=message):
        generate(model, ids, max_new_tokens=1, **SETTINGS)


def test_bad_setting_is_refused_before_the_first_token(model):
    with pytest.raises(ValueError, match="top_p"):
        generate(model, [1], max_new_tokens=1, **SETTINGS | {"top_p": 2.0})
    with pytest.raises(ValueError, match=r"max_new_tokens \(-1\)"):
        generate(model, [1], max_new_tokens=-1, **SETTINGS)
