"""The README.md of an exported model: facts that the export knows, and nothing that it does not."""

from minillm.config import parameter_count
from minillm.interop.architectures import Architecture
from minillm.interop.parts import Parts

_CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags:
- minillm
---

# {name}

A causal language model, exported by minillm from `{source}`. It has the shape of {class_name} and
loads with no code of its own.

| | |
| --- | --- |
| parameters | {parameters:,} |
| layers, width | {n_layers}, {d_model} |
| heads (query, key-value), channels each | {n_heads}, {n_kv_heads}, {d_head} |
| feed-forward width | {d_ff} |
| vocabulary | {vocab_size:,} |
| context | {context_length:,} tokens |

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
prompt = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=64)[0]))
```

What it was trained on, what it is good for and where it fails: to be written by who trained it.
"""


def model_card(architecture: Architecture, parts: Parts, *, name: str, source: str) -> str:
    """The card of one export.

    Args:
        architecture: What the model has become.
        parts: The model.
        name: Name of the folder.
        source: Where the model came from.
    """
    return _CARD.format(
        **parts.model.model_dump(),
        name=name,
        source=source,
        class_name=architecture.class_name,
        parameters=parameter_count(parts.model),
    )
