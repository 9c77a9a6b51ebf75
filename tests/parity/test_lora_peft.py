"""Adapters against PEFT on the same weights: what it computes of our files, and we of its."""

import pytest
import torch

from minillm.checkpoint import load_model_tensors
from minillm.config import LoraConfig
from minillm.interop import load_peft, write_hugging_face, write_peft
from minillm.model import Transformer
from minillm.model.lora import adapter_names, add_adapter

peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")  # what PEFT thinks of transformers

PAIRS = [("llama", "lora"), ("qwen3", "dora"), ("gpt2", "rslora"), ("gpt2", "dora")]
SHAPES = {
    "llama": {"tie_embeddings": False},
    "qwen3": {"qk_norm": True},
    "gpt2": {
        "norm": "layernorm",
        "position": "learned",
        "ffn": "gelu",
        "attention_bias": True,
        "ffn_bias": True,
        "norm_eps": 1e-5,
    },
}
IDS = torch.arange(24).view(2, 12) + 20


@pytest.fixture
def pair(make_parts, tmp_path):
    """A model of ours with an adapter, its export, and the adapter's file."""

    def make(shape, **options):
        parts = make_parts(**SHAPES[shape])
        model = Transformer(parts.model).eval()
        load_model_tensors(model, parts.tensors)
        config = LoraConfig(rank=4, alpha=6.0, **options)
        add_adapter(model, "default", config)
        learned = {name: p for name, p in model.named_parameters() if ".adapters." in name}
        for parameter in learned.values():
            torch.nn.init.normal_(parameter, std=0.1)
        write_hugging_face(
            tmp_path / "hf", parts, dtype=torch.float32, max_shard_bytes=1 << 30, source="a"
        )
        learned = {name: p.detach() for name, p in learned.items()}
        write_peft(tmp_path / "adapter", parts.model, config, learned, str(tmp_path / "hf"))
        return model, tmp_path

    return make


def of_transformers(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder / "hf").eval()


@pytest.mark.parametrize(("shape", "kind"), PAIRS)
def test_peft_computes_the_same_from_our_adapter_file(pair, shape, kind):
    targets = ("all-linear",) if shape != "llama" else ("all-linear", "embed_tokens", "lm_head")
    ours, folder = pair(shape, kind=kind, targets=targets)
    theirs = peft.PeftModel.from_pretrained(of_transformers(folder), folder / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "kind"), PAIRS)
def test_an_adapter_of_peft_computes_the_same_here(pair, shape, kind, tmp_path):
    ours, folder = pair(shape, kind=kind)
    config = peft.LoraConfig(
        r=8,
        lora_alpha=5,
        target_modules=["c_attn", "c_fc"] if shape == "gpt2" else ["q_proj", "o_proj", "up_proj"],
        rank_pattern={"c_attn": 3} if shape == "gpt2" else {"q_proj": 3},
        use_rslora=kind == "rslora",
        use_dora=kind == "dora",
        fan_in_fan_out=shape == "gpt2",
        init_lora_weights=False,
    )
    theirs = peft.get_peft_model(of_transformers(folder), config).eval()
    theirs.save_pretrained(tmp_path / "saved")
    load_peft(tmp_path / "saved", ours, "other")
    assert adapter_names(ours) == ["default", "other"]
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)
