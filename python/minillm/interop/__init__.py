"""Models that leave and enter the house: the only place that knows other people's names."""

from minillm.interop.gguf_file import write_gguf
from minillm.interop.hugging_face import read_hugging_face, write_hugging_face
from minillm.interop.parts import Parts
from minillm.interop.peft import export_adapter, lay_adapters, load_peft, write_peft
from minillm.interop.run_folder import (
    initial_shape,
    initial_weights,
    is_hugging_face,
    read_model,
    read_run,
    write_run,
)

__all__ = [
    "Parts", "export_adapter", "initial_shape", "initial_weights", "is_hugging_face",
    "lay_adapters", "load_peft", "read_hugging_face", "read_model", "read_run", "write_gguf",
    "write_hugging_face", "write_peft", "write_run",
]  # fmt: skip
