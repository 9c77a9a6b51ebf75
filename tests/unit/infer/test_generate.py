import pytest
import torch

from minillm.config import ModelConfig, SampleConfig
from minillm.infer import Generation, Sampler, absent_ids
from minillm.model import Transformer
from minillm.tokenizer import Tokenizer

PROMPTS = [[3, 1, 4], [15], list(range(9)), [2] * 16, [7, 7]]
"""Of five lengths, one of them the whole context."""


def make_model(**changes):
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "context_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 2}
    model = Transformer(ModelConfig(**shape | changes)).eval()
    # Sharper than at birth, so that a wrong cache shows in the tokens.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


def settings(n=50, **changes):
    return SampleConfig(**{"max_new_tokens": n, "temperature": 1.0} | changes)


def start(model, prompts, config, seeds=None, **options):
    seeds = range(len(prompts)) if seeds is None else seeds
    return Generation(model, prompts, config, seeds=seeds, **{"stop_ids": ()} | options)


def tokens_of(generation, n_rows=1):
    texts = [[] for _ in range(n_rows)]
    for new in generation:
        texts[new.row].append(new.id)
    return texts


def continued(model, ids, config, seed=0, **options):
    return tokens_of(start(model, [ids], config, [seed], **options))[0]


def generate_slowly(model, ids, config, seed):
    """No cache: the whole window is read anew for each token."""
    sampler = Sampler(config, [ids], [seed], vocab_size=model.config.vocab_size)
    length = model.config.context_length
    window, tokens = list(ids), []
    for _ in range(config.max_new_tokens):
        if len(window) > length:
            window = window[len(window) - (length - length // 2) :]
        with torch.no_grad():
            logits = model(torch.tensor([window]))[:, -1]
        tokens.append(int(sampler.draw(logits)))
        window.append(tokens[-1])
    return tokens


SETTINGS = {
    "greedy": {"temperature": 0.0},
    "free": {},
    "truncated": {"top_k": 20, "top_p": 0.9, "min_p": 0.05},
    "penalized": {"repetition_penalty": 1.3, "logit_bias": {5: 3.0}},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("prompt_length", [1, 7, 16])
def test_cached_tokens_equal_those_of_a_loop_without_cache(model, changes, prompt_length):
    ids = list(range(prompt_length))
    config = settings(34, **changes)  # twice over the context
    assert continued(model, ids, config, seed=3) == generate_slowly(model, ids, config, seed=3)


LAYOUTS = {
    "learned": {"position": "learned"},
    "grouped": {"n_kv_heads": 1, "qk_norm": True},
    "windows": {"windows": (4, 0), "nope_interval": 2},
    "written out": {"attention_backend": "reference", "attention_softcap": 5.0},
    "latent": {"attention": "mla", "d_latent_kv": 16, "d_head_rope": 4, "d_head_nope": 8},
    "experts": {"n_experts": 4, "n_shared_experts": 1, "n_dense_layers": 1, "d_expert": 16},
    "speed": {
        "ffn": "relu2",
        "qk_norm": True,
        "norm_scale": False,
        "embedding_norm": True,
        "x0_skip": True,
        "value_embeddings": True,
        "logit_softcap": 15.0,
        "tie_embeddings": False,
    },
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_cached_what_it_gives_without_cache(layout):
    model, config = make_model(**layout), settings(24, temperature=0.0)
    expected = [generate_slowly(model, ids, config, seed=0) for ids in PROMPTS]
    assert tokens_of(start(model, PROMPTS, config), len(PROMPTS)) == expected


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_a_batch_equals_its_rows_one_by_one(model, changes):
    config = settings(26, **changes)  # from the longest prompt, beyond the context three times
    alone = [continued(model, ids, config, seed) for seed, ids in enumerate(PROMPTS)]
    assert tokens_of(start(model, PROMPTS, config), len(PROMPTS)) == alone


@pytest.mark.parametrize("layout", ["experts", "speed"])
def test_a_batch_of_every_layout_equals_its_rows_one_by_one(layout):
    model, config = make_model(**LAYOUTS[layout]), settings(24)
    alone = [continued(model, ids, config, seed) for seed, ids in enumerate(PROMPTS)]
    assert tokens_of(start(model, PROMPTS, config), len(PROMPTS)) == alone


def test_rows_that_end_leave_the_others_as_they_were(model):
    config = settings(26)
    alone = [continued(model, ids, config, seed) for seed, ids in enumerate(PROMPTS)]
    stop = {alone[0][3], alone[2][17]}
    expected = []
    for tokens in alone:
        ends = [place for place, token in enumerate(tokens) if token in stop]
        expected.append(tokens[: ends[0] + 1] if ends else tokens)
    assert len({len(tokens) for tokens in expected}) > 2
    assert tokens_of(start(model, PROMPTS, config, stop_ids=stop), len(PROMPTS)) == expected


def test_rows_may_be_stopped_from_outside(model):
    config = settings(20)
    alone = [continued(model, ids, config, seed) for seed, ids in enumerate(PROMPTS)]
    generation = start(model, PROMPTS, config)
    texts = [[] for _ in PROMPTS]
    for new in generation:
        texts[new.row].append(new.id)
        if new.row == 2 and len(texts[2]) == 5:
            generation.stop(2)
            generation.stop(4)  # whose fifth token has not come yet
            generation.stop(4)
    assert texts == [alone[0], alone[1], alone[2][:5], alone[3], alone[4][:4]]


def test_short_text_goes_on_when_long_ones_have_filled_the_cache(model):
    config = settings(14)
    expected = continued(model, [1], config, seed=1)
    generation = start(model, [[2] * 15, [1]], config)
    tokens = []
    for new in generation:
        generation.stop(0)
        tokens += [new.id] if new.row == 1 else []
    assert tokens == expected


def test_full_context_goes_on_from_its_later_half(model):
    ids = list(range(16))
    tokens = continued(model, ids, settings(2, temperature=0.0))
    window = [*ids, tokens[0]][-8:]
    with torch.no_grad():
        assert tokens[1] == int(model(torch.tensor([window]))[0, -1].argmax())


def test_tokens_come_one_by_one(model):
    stream = iter(start(model, [[1]], settings(10**9)))
    assert 0 <= next(stream).id < 40


def test_a_cache_is_no_longer_than_the_texts_can_become(model):
    assert start(model, [[1], [1, 2]], settings(4))._cache.max_len == 6
    assert start(model, [[1], [1, 2]], settings(40))._cache.max_len == 16


def test_stop_id_is_the_last_token(model):
    free = continued(model, [1], settings(30))
    new = list(start(model, [[1]], settings(30), [0], stop_ids={free[5]}))
    assert [token.id for token in new] == free[: free.index(free[5]) + 1]
    assert [token.finish for token in new] == [None] * (len(new) - 1) + ["stop"]


def test_last_of_all_tokens_says_so(model):
    finishes = [new.finish for new in start(model, [[1], [2]], settings(3))]
    assert finishes == [None] * 4 + ["length"] * 2


def test_ids_that_the_tokenizer_lacks_are_never_drawn(model):
    absent = [0, 2, *range(5, 40)]
    assert set(continued(model, [1], settings(100), absent=absent)) == {1, 3, 4}


def test_greedy_text_has_no_absent_ids_either(model):
    config = settings(1, temperature=0.0)
    free = continued(model, [1], config)
    assert free != continued(model, [1], config, absent=free)


def test_absent_ids_are_the_gaps_and_the_padding():
    vocab = {i: bytes([i]) for i in range(256)}
    tokenizer = Tokenizer(vocab, [], {"<|endoftext|>": 258}, pattern=None)
    assert absent_ids(tokenizer, 261) == [256, 257, 259, 260]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probabilities_are_the_model_s_own(model, temperature):
    config = settings(6, temperature=temperature, top_k=2, logit_bias={5: 9.0})
    new = list(start(model, [[1, 2]], config, [0], logprobs=3))
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2, *[token.id for token in new]]]))[0, 1:-1]
    expected = logits.log_softmax(-1)
    for place, token in enumerate(new):
        assert token.logprob == pytest.approx(expected[place, token.id].item(), abs=1e-4)
        values, ids = expected[place].topk(3)
        assert [id_ for id_, _ in token.top] == ids.tolist()
        assert [logprob for _, logprob in token.top] == pytest.approx(values.tolist(), abs=1e-4)


def test_log_probabilities_are_absent_unless_asked_for(model):
    assert {(new.logprob, new.top) for new in start(model, [[1]], settings(3))} == {(None, ())}
    assert all(
        new.logprob < 0 == len(new.top) for new in start(model, [[1]], settings(3), logprobs=0)
    )


def test_no_prompts_have_no_tokens(model):
    assert list(start(model, [], settings(3))) == []


def test_prompts_are_not_changed(model):
    ids = [1, 2, 3]
    continued(model, ids, settings(40))
    assert ids == [1, 2, 3]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[]], "the prompt has no tokens"),
        ([[0] * 17], r"the prompt has 17 tokens, the model's context_length is 16"),
        ([[0, 40]], "token 1 of the prompt is 40, vocab_size is 40"),
        ([[-1]], "token 0 of the prompt is -1, vocab_size is 40"),
        ([[1], []], "prompt 1 has no tokens"),
    ],
)
def test_bad_prompt_is_refused_before_the_first_token(model, prompts, message):
    with pytest.raises(ValueError, match=message):
        start(model, prompts, settings())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weight_is_named(value):
    model = make_model()
    with torch.no_grad():
        model.layers[1].attention.v_proj.weight[3, 3] = value
    message = r"^the sum of the model's logits is nan: weight `layers.1.attention.v_proj.weight` is"
    with pytest.raises(ValueError, match=message):
        list(start(model, [[1]], settings(1)))


def test_logits_that_overflow_are_told_from_damaged_weights():
    model = make_model()
    with torch.no_grad():
        model.norm.weight.fill_(3e38)
    with pytest.raises(ValueError, match=r"logits is (nan|-?inf): its logits overflow"):
        list(start(model, [[1]], settings(1)))


def test_bad_setting_is_refused_before_the_first_token(model):
    with pytest.raises(ValueError, match="logit_bias names id 40, vocab_size is 40"):
        start(model, [[1]], settings(logit_bias={40: 1.0}))
    with pytest.raises(ValueError, match="there are 1 prompts and 2 seeds"):
        start(model, [[1]], settings(), [1, 2])
