"""`minillm convert`: a run becomes a Hugging Face folder, or a Hugging Face folder a run.

    minillm convert runs/a exports/a
    minillm convert SmolLM2-135M runs/smol

Which way is told by what is in SRC: a `config.json` is Hugging Face's. Weights, shape, tokenizer,
chat template and sampling settings come along; optimizer and data do not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from minillm import messages
from minillm.tokenizer.memory import Memory

app = App(name="convert", version_flags=[])


@app.default
def convert(
    src: Path,
    dst: Path,
    *,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    max_shard_size: Memory = 5_000_000_000,
) -> None:
    """Turn a run into a Hugging Face folder, or one into a run.

    Args:
        src: A run, one of its checkpoints, or a Hugging Face folder.
        dst: The new folder.
        dtype: Type of the weights in a Hugging Face folder; a run has float32.
        max_shard_size: Largest file of weights in a Hugging Face folder, such as 500MB.
    """
    import torch  # noqa: PLC0415  only once the command line is good

    from minillm import interop  # noqa: PLC0415
    from minillm.model import model_size  # noqa: PLC0415

    parts = interop.read_model(src)
    size = f"{model_size(parts.model).total:,} parameters"
    if interop.is_hugging_face(src):
        interop.write_run(dst, parts)
        messages.say(f"`{dst}` is a run of {size}")
        return
    architecture = interop.write_hugging_face(
        dst,
        parts,
        dtype=getattr(torch, dtype),
        max_shard_bytes=max_shard_size,
        source=src.resolve().name,
    )
    messages.say(f"`{dst}` is a {architecture.class_name} of {size}, {dtype}")


if __name__ == "__main__":
    sys.exit(messages.run(app))
