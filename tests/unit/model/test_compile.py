import subprocess
import sys

import pytest

# In a process of its own: the checks of signatures that the suite installs cannot be traced.
SCRIPT = """
import sys
import torch
from minillm.config import ModelConfig
from minillm.model import Transformer

FIELDS = (
    {"n_kv_heads": 2, "qk_norm": True, "windows": (4, 0), "nope_interval": 2},
    {"attention": "mla", "rope_scaling": "yarn", "rope_scaling_factor": 2.0},
    {"attention_backend": "reference", "attention_softcap": 5.0, "rope_pairs": "interleaved"},
)
for fields in FIELDS[: int(sys.argv[2])]:
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
    ("backend", "n_models"),
    [
        ("eager", 1),
        pytest.param("eager", 3, marks=pytest.mark.slow),
        pytest.param("inductor", 3, marks=pytest.mark.slow),
    ],
)
def test_models_compile_as_one_graph_and_compute_the_same(backend, n_models):
    subprocess.run([sys.executable, "-c", SCRIPT, backend, str(n_models)], check=True)
