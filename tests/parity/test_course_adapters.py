"""The adapters of `docs/course.md`, as a course calls them, against PyTorch and the fast modules.

What is run is the page's own text, so that the page cannot go stale.
"""

import io
import itertools
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from minillm.config import ModelConfig
from minillm.model import Transformer
from minillm.optim import AdamW, clip_grad_norm

PAGE = Path(__file__).parents[2] / "docs" / "course.md"
LEADING = [(), (3,), (2, 3)]
F64 = torch.float64


@pytest.fixture(scope="module")
def course():
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102  the repository's own text
    return SimpleNamespace(**names)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, dtype=F64)


def assert_equal(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def neighbours_from_halves(weight, n_heads):
    """Rows of a query or key matrix for RoPE of pairs (2i, 2i+1), from those for (i, i + K/2)."""
    by_half = weight.unflatten(0, (n_heads, 2, -1))  # H 2 half D
    return by_half.transpose(1, 2).flatten(0, 2)


@pytest.mark.parametrize("leading", LEADING)
def test_linear_keeps_leading_dimensions(course, leading):
    x, weight = randn(*leading, 5), randn(7, 5)
    assert_equal(course.run_linear(5, 7, weight, x), functional.linear(x, weight))


@pytest.mark.parametrize("leading", LEADING)
def test_embedding_looks_up_rows(course, leading):
    ids, table = torch.randint(9, leading), randn(9, 4)
    assert torch.equal(course.run_embedding(9, 4, table, ids), functional.embedding(ids, table))


@pytest.mark.parametrize("scale", [1, 1e3])
def test_silu_matches_torch(course, scale):
    x = scale * randn(4, 5)
    assert_equal(course.run_silu(x), functional.silu(x))


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("shift", [0, 1e4, -1e4])
def test_softmax_matches_torch_however_large_the_input(course, dim, shift):
    x = randn(3, 4, 5) + shift
    assert_equal(course.run_softmax(x, dim), torch.softmax(x, dim))


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_rmsnorm_matches_torch(course, leading, scale):
    x, weight = scale * randn(*leading, 8), randn(8)
    assert_equal(course.run_rmsnorm(8, 1e-5, weight, x), functional.rms_norm(x, (8,), weight, 1e-5))


@pytest.mark.parametrize("leading", LEADING)
def test_swiglu_takes_gate_down_up_in_the_course_s_order(course, leading):
    x, w1, w2, w3 = randn(*leading, 4), randn(6, 4), randn(4, 6), randn(6, 4)
    expected = (functional.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
    assert_equal(course.run_swiglu(4, 6, w1, w2, w3, x), expected)


def test_rope_multiplies_complex_numbers_made_of_neighbours(course):
    x, positions = randn(2, 3, 5, 8), torch.tensor([[0, 1, 2, 7, 100]])
    angles = positions[..., None] * 500.0 ** -(torch.arange(0, 8, 2, dtype=F64) / 8)
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(
        torch.ones_like(angles), angles
    )
    expected = torch.view_as_real(turned).flatten(-2)
    # Angles are float32 in the model, so that of position 100 is good to 1e-5.
    assert_equal(course.run_rope(8, 500.0, 128, x, positions), expected, 2e-5)


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_matches_torch_with_any_leading_dimensions(course, leading, masked):
    q, k, v = randn(*leading, 5, 8), randn(*leading, 7, 8), randn(*leading, 7, 6)
    mask = torch.rand(*leading, 5, 7) > 0.5 if masked else None
    if masked:
        mask[..., 0] = True  # a query that may look nowhere has no answer
    expected = functional.scaled_dot_product_attention(q, k, v, mask)
    assert_equal(course.run_scaled_dot_product_attention(q, k, v, mask), expected)


def test_attention_survives_huge_scores(course):
    q, k, v = 1e3 * torch.randn(1, 4, 8), 1e3 * torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    expected = functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(course.run_scaled_dot_product_attention(q, k, v), expected)


@pytest.mark.parametrize("leading", LEADING)
def test_multi_head_attention_matches_torch_module(course, leading):
    x = randn(*leading, 5, 8)
    theirs = nn.MultiheadAttention(8, 4, bias=False, batch_first=True, dtype=F64)
    q, k, v = theirs.in_proj_weight.chunk(3)
    flat = x.reshape(-1, 5, 8)
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected, _ = theirs(flat, flat, flat, attn_mask=hidden, need_weights=False)
    ours = course.run_multihead_self_attention(8, 4, q, k, v, theirs.out_proj.weight, x)
    assert_equal(ours, expected.reshape(x.shape))


def model_and_course_weights(**fields):
    """A model of ours in float64, and its weights under the course's names and pairing."""
    shape = {"vocab_size": 31, "context_length": 12, "d_model": 16, "n_heads": 4, "n_layers": 3}
    config = ModelConfig(**shape, d_ff=24, tie_embeddings=False, rope_theta=100.0, init_std=0.3)
    model = Transformer(config.model_copy(update=fields)).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.normal_(parameter, mean=1.0)
    theirs = {
        "embed_tokens": "token_embeddings",
        "attention_norm": "ln1",
        "ffn_norm": "ln2",
        "attention.o_proj": "attn.output_proj",
        "attention.": "attn.",
        "gate_proj": "w1",
        "down_proj": "w2",
        "up_proj": "w3",
    }
    weights = {}
    for our_name, tensor in model.state_dict().items():
        name = "ln_final.weight" if our_name == "norm.weight" else our_name
        for ours, course_name in theirs.items():
            name = name.replace(ours, course_name)
        turns = "q_proj" in name or "k_proj" in name
        weights[name] = neighbours_from_halves(tensor, 4) if turns else tensor
    return model, weights


def of_first_layer(weights):
    prefix = "layers.0."
    return {name.removeprefix(prefix): w for name, w in weights.items() if prefix in name}


def seen_by(part, model):
    """What a part of the model is given and gives while the model runs."""
    seen = []
    part.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0], output)))
    model(torch.randint(31, (2, 10)))
    return seen


@pytest.mark.parametrize("explicit", [False, True])
def test_attention_with_rope_matches_the_module(course, explicit):
    model, weights = model_and_course_weights()
    x, expected = seen_by(model.layers[0].attention, model)
    positions = torch.arange(10)[None]
    first = of_first_layer(weights)
    projections = [first[f"attn.{name}_proj.weight"] for name in ("q", "k", "v", "output")]
    actual = course.run_multihead_self_attention_with_rope(
        16, 4, 12, 100.0, *projections, x, positions if explicit else None
    )
    assert_equal(actual, expected, 1e-6)


def test_block_matches_the_module(course):
    model, weights = model_and_course_weights()
    x, expected = seen_by(model.layers[0], model)
    actual = course.run_transformer_block(16, 4, 24, 12, 100.0, of_first_layer(weights), x)
    assert_equal(actual, expected, 1e-6)


@pytest.mark.parametrize("length", [1, 7, 12])
def test_language_model_matches_the_module(course, length):
    model, weights = model_and_course_weights()
    ids = torch.randint(31, (2, length))
    actual = course.run_transformer_lm(31, 12, 16, 3, 4, 24, 100.0, weights, ids)
    assert_equal(actual, model(ids), 1e-6)


@pytest.mark.parametrize("scale", [1, 1e3])
def test_cross_entropy_matches_torch(course, scale):
    logits, targets = scale * randn(8, 5), torch.randint(5, (8,))
    expected = functional.cross_entropy(logits, targets)
    assert_equal(course.run_cross_entropy(logits, targets), expected)


@pytest.mark.parametrize("max_norm", [1e-2, 1e3])
def test_clipping_matches_torch_and_our_fast_one(course, max_norm):
    def parameters():
        torch.manual_seed(1)
        made = [nn.Parameter(torch.randn(5, 5)) for _ in range(4)]
        made[-1].requires_grad_(False)
        torch.cat(made).square().sum().backward()
        return made

    ours, theirs, fast = parameters(), parameters(), parameters()
    course.run_gradient_clipping(ours, max_norm)
    nn.utils.clip_grad_norm_(theirs, max_norm)
    clip_grad_norm(fast, max_norm)
    for mine, their, quick in itertools.islice(zip(ours, theirs, fast, strict=True), 3):
        torch.testing.assert_close(mine.grad, their.grad)
        torch.testing.assert_close(mine.grad, quick.grad)


@pytest.mark.parametrize("fast", [AdamW, torch.optim.AdamW])
def test_adamw_equals_the_fast_ones_bit_for_bit(course, fast):
    def trained(make):
        torch.manual_seed(2)
        model = nn.Linear(3, 2)
        optimizer = make(model.parameters(), lr=1e-3, weight_decay=0.01, betas=(0.9, 0.999))
        for _ in range(50):
            optimizer.zero_grad()
            (model(torch.rand(3)) - 1).square().sum().backward()
            optimizer.step()
        return model.weight.detach()

    assert torch.equal(trained(course.get_adamw_cls()), trained(fast))


def test_cosine_warms_up_from_zero_and_stays_at_its_end(course):
    rates = [course.run_get_lr_cosine_schedule(step, 1.0, 0.1, 7, 21) for step in range(25)]
    assert rates[:8] == pytest.approx([step / 7 for step in range(8)])
    half_cosine = [0.1 + 0.45 * (1 + math.cos(math.pi * step / 14)) for step in range(15)]
    assert rates[7:22] == pytest.approx(half_cosine)
    assert rates[21:] == [0.1] * 4
    assert all(type(rate) is float for rate in rates)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16])
def test_batches_begin_at_every_place_equally_often(course, dtype):
    ids, draws = np.arange(20, dtype=dtype), 17_000
    x, y = course.run_get_batch(ids, draws, 3, "cpu")
    assert x.shape == y.shape == (draws, 3)
    assert x.dtype == torch.int64
    assert torch.equal(y, x + 1)
    counts = torch.bincount(x[:, 0])
    assert len(counts) == 17  # 0 to 16: the last target of the last window is the last id
    # Six standard deviations of a count of 17,000 draws with probability 1/17.
    assert (counts - 1000).abs().max() < 6 * math.sqrt(1000 * 16 / 17)


def test_a_device_that_is_not_there_is_an_error(course):
    with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
        course.run_get_batch(np.arange(100), 4, 7, "cuda:99")


def test_ids_too_few_for_one_window_are_refused(course):
    with pytest.raises(ValueError, match="ids holds 7 tokens, a window of 7 needs 8"):
        course.run_get_batch(np.arange(7), 4, 7, "cpu")


@pytest.mark.parametrize("by_path", [True, False])
def test_checkpoint_brings_model_optimizer_and_step_back(course, by_path, tmp_path):
    make, place = course.get_adamw_cls(), tmp_path / "a.ckpt" if by_path else io.BytesIO()
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer = make(model.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(6, 4)).square().sum().backward()
        optimizer.step()
    course.run_save_checkpoint(model, optimizer, 5, place)
    if not by_path:
        place.seek(0)

    fresh = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    fresh_optimizer = make(fresh.parameters())
    assert course.run_load_checkpoint(place, fresh, fresh_optimizer) == 5
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name
    old, new = optimizer.state_dict(), fresh_optimizer.state_dict()
    assert new["param_groups"] == old["param_groups"]
    assert new["state"].keys() == old["state"].keys()
    for index, state in old["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(new["state"][index][key]), torch.as_tensor(value))


def test_bpe_learns_the_textbook_merges_and_tells_text_from_special_tokens(course, tmp_path):
    file = tmp_path / "a.txt"
    words = ["low"] * 5 + ["lower"] * 2 + ["widest"] * 3 + ["newest"] * 6
    file.write_text("\n".join(words))
    vocab, merges = course.run_train_bpe(file, 256 + 1 + 6, ["<|endoftext|>"])
    # The example of Sennrich et al., arXiv:1508.07909, with ties to the greatest pair.
    assert merges == [
        (b"s", b"t"),
        (b"e", b"st"),
        (b"o", b"w"),
        (b"l", b"ow"),
        (b"w", b"est"),
        (b"n", b"e"),
    ]
    assert vocab[0] == b"<|endoftext|>"
    assert len(vocab) == 263
    tokenizer = course.get_tokenizer(vocab, merges, ["<|endoftext|>"])
    text = "newest<|endoftext|>lowest"
    ids = tokenizer.encode(text)
    assert [vocab[i] for i in ids] == [b"ne", b"west", b"<|endoftext|>", b"low", b"est"]
    assert list(tokenizer.encode_iterable(text)) == ids
    assert tokenizer.decode(ids) == text
