import pytest
import torch

from minillm.config import ModelConfig
from minillm.model import Mask, TokenValues, Transformer, X0Skip

SMALL = {"vocab_size": 40, "context_length": 12, "d_model": 24, "n_heads": 4, "n_layers": 3}


def small(**fields) -> Transformer:
    return Transformer(ModelConfig(**{**SMALL, **fields}))


def test_x0_skip_mixes_the_stream_and_its_beginning():
    skip = X0Skip()
    x, x0 = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    torch.testing.assert_close(skip(x, x0), x + 0.1 * x0)
    skip.weight.data = torch.tensor([0.5, 2.0])
    torch.testing.assert_close(skip(x, x0), 0.5 * x + 2 * x0)


def test_block_that_writes_nothing_still_mixes_in_x0():
    model = small(x0_skip=True, zero_init_outputs=True)
    x, x0 = torch.randn(2, 1, 3, 24).unbind()
    ids = torch.arange(3)[None]
    torch.testing.assert_close(
        model.layers[0](x, Mask(is_causal=True), x0=x0, ids=ids), x + 0.1 * x0
    )


def test_value_embeddings_sit_in_every_second_block_and_in_the_last():
    for n_layers, expected in ((3, [True, False, True]), (4, [False, True, False, True])):
        model = small(n_layers=n_layers, value_embeddings=True)
        assert [layer.token_values is not None for layer in model.layers] == expected


def test_value_embedding_is_gated_by_the_first_channels():
    values = TokenValues(ModelConfig(**{**SMALL, "n_kv_heads": 2, "d_model": 48}))
    x, ids = torch.randn(2, 3, 48), torch.randint(40, (2, 3))
    table = values.embed.weight[ids].view(2, 3, 2, 12)
    torch.testing.assert_close(values(x, ids), table)  # at first the gate is 1
    torch.nn.init.normal_(values.gate.weight)
    gate = 2 * torch.sigmoid(x[..., :32] @ values.gate.weight.T)
    torch.testing.assert_close(values(x, ids), gate[..., None] * table)


def test_value_embeddings_reach_the_logits():
    model, ids = small(value_embeddings=True).eval(), torch.arange(5)[None]
    before = model(ids)
    model.layers[-1].token_values.embed.weight.data += 1.0
    assert not torch.allclose(model(ids), before)


def test_zero_init_outputs_make_each_block_the_identity():
    for fields in ({}, {"ffn": "relu2"}, {"n_experts": 4, "n_shared_experts": 1}):
        model = small(zero_init_outputs=True, **fields)
        ids = torch.arange(5)[None]
        x = model.embed_tokens(ids)
        for block in model.layers:
            assert torch.equal(block(x, Mask(is_causal=True), x0=x, ids=ids), x)


def test_softcap_bounds_logits_and_keeps_small_ones():
    plain, capped = small(init_std=0.5), small(init_std=0.5, logit_softcap=2.0)
    capped.load_state_dict(plain.state_dict())
    ids = torch.arange(5)[None]
    torch.testing.assert_close(capped(ids), 2 * torch.tanh(plain(ids) / 2))
    assert plain(ids).abs().max() > 2 >= capped(ids).abs().max()


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_norms_without_scale_have_no_parameters_and_normalize(norm):
    model = small(norm=norm, norm_scale=False, qk_norm=True, embedding_norm=True)
    assert not any("norm" in name for name in model.state_dict())
    x = 7 * torch.randn(2, 3, 24)
    expected = torch.ones(2, 3)
    torch.testing.assert_close(model.norm(x).square().mean(-1), expected, rtol=1e-4, atol=1e-4)


def test_embedding_norm_comes_before_the_blocks():
    model = small(embedding_norm=True, zero_init_outputs=True, norm_scale=False)
    hidden = model.hidden(torch.arange(5)[None])
    torch.testing.assert_close(hidden, model.norm(model.norm(model.embed_tokens.weight[None, :5])))
