import subprocess
import sys

import pytest

# In a process of its own: the checks of signatures that the suite installs cannot be traced.
SCRIPT = """
import sys
import torch
from minillm.config import ModelConfig
from minillm.model import Transformer

for fields in (
    {"n_kv_heads": 2, "qk_norm": True, "windows": (4, 0), "nope_interval": 2},
    {"attention": "mla", "rope_scaling": "yarn", "rope_scaling_factor": 2.0},
    {"attention_backend": "reference", "attention_softcap": 5.0, "rope_pairs": "interleaved"},
):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = Transformer(ModelConfig(vocab_size=40, d_model=32, n_layers=2, **fields))
    ids, documents = torch.randint(40, (2, 12)), torch.tensor([[0] * 5 + [1] * 7, [0] * 12])
    compiled = torch.compile(model, fullgraph=True, backend=sys.argv[1])
    for given in ({}, {"documents": documents}):
        expected = torch.autograd.grad(model(ids, targets=ids, **given), model.parameters())
        actual = torch.autograd.grad(compiled(ids, targets=ids, **given), model.parameters())
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)
"""


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)], ids=str
)
def test_models_compile_as_one_graph_and_compute_the_same(backend):
    subprocess.run([sys.executable, "-c", SCRIPT, backend], check=True)
