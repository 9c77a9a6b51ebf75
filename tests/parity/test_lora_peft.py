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
    "experts": {"qk_norm": True, "n_experts": 3, "n_experts_per_token": 2, "d_expert": 24},
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


def saved_by_peft(folder, **options):
    """An adapter that PEFT makes and saves, and its model."""
    kept = {"r": 4, "lora_alpha": 5, "init_lora_weights": False, **options}
    theirs = peft.get_peft_model(of_transformers(folder), peft.LoraConfig(**kept)).eval()
    theirs.save_pretrained(folder / "saved")
    return theirs


@pytest.mark.parametrize(
    "pattern",
    [
        "q_proj",
        "proj",  # no whole name: fits nothing
        "0.self_attn.q_proj",
        r".*layers\.0.*q_proj",
        r"^model.layers.0.self_attn.q_proj",
        r"model\.layers\.[01]\.self_attn\.q_proj",
        "q_proj|up_proj",
        "self_attn",
    ],
)
@pytest.mark.parametrize("rank", [4, 7])
def test_patterns_of_alpha_and_rank_fit_what_they_fit_in_peft(pair, pattern, rank):
    ours, folder = pair("llama")
    theirs = saved_by_peft(
        folder,
        target_modules=["q_proj", "up_proj"],
        alpha_pattern={pattern: 40, "up_proj": 9},
        rank_pattern={pattern: rank},
    )
    load_peft(folder / "saved", ours, "other")
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_of_embedding_and_head_saved_by_peft_computes_the_same_here(pair, kind):
    ours, folder = pair("llama")
    targets = ["embed_tokens", "lm_head", "q_proj"]
    theirs = saved_by_peft(folder, target_modules=targets, use_dora=kind == "dora")
    load_peft(folder / "saved", ours, "other")
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("option", [{"bias": "lora_only"}, {"bias": "all"}, {"lora_bias": True}])
def test_an_adapter_of_peft_that_learns_biases_is_refused_by_name(pair, option):
    ours, folder = pair("llama")
    saved_by_peft(folder, target_modules=["q_proj"], **option)
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` "):
        load_peft(folder / "saved", ours, "other")


def test_peft_computes_the_same_from_our_adapter_of_experts(pair):
    ours, folder = pair("experts", targets=("all-linear",))
    theirs = peft.PeftModel.from_pretrained(of_transformers(folder), folder / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)
    # What it saves again has one matrix for all experts, by a key that is refused.
    theirs.save_pretrained(folder / "saved")
    with pytest.raises(ValueError, match="`target_parameters` is set, only LoRA's factors"):
        load_peft(folder / "saved", ours, "other")
