"""`minillm export`: a model as one file for other programs, or its adapter alone.

minillm export runs/a a.gguf --dtype q8_0
minillm export runs/lora adapter --format peft
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from minillm import messages

app = App(name="export", help="Write a model as one file for other programs.", version_flags=[])


@app.default
def export(
    src: Path,
    out: Path,
    *,
    format: Literal["gguf", "peft"] = "gguf",  # noqa: A002  the option's name
    dtype: Literal["f32", "f16", "bf16", "q8_0"] = "f16",
) -> None:
    """Write a model as one file for other programs.

    Args:
        src: A run, one of its checkpoints, or a Hugging Face folder.
        out: The new file, for peft the new folder.
        format: gguf, which llama.cpp reads; or the adapter of a run that trained one, for PEFT.
        dtype: Type of the matrices in gguf; q8_0 has 8 bits and a scale for each 32 of them.
    """
    from minillm import interop  # noqa: PLC0415  imports torch

    if format == "peft":
        interop.export_adapter(src, out)
        return
    parts = interop.read_model(src)
    architecture = interop.write_gguf(out, parts, kind=dtype, source=src.resolve().name)
    size_mb = out.stat().st_size / 1e6
    messages.say(f"`{out}`: {architecture.gguf_name}, {dtype}, {size_mb:.1f} MB")


if __name__ == "__main__":
    sys.exit(messages.run(app))
