"""Using a trained model: load a run, sample tokens, stream their text."""

from minillm.infer.generate import generate
from minillm.infer.run import LoadedRun, load_run
from minillm.infer.sampling import Sampler, keep_top_k, keep_top_p, scale_by_temperature
from minillm.infer.text_stream import TextStream

__all__ = [
    "LoadedRun",
    "Sampler",
    "TextStream",
    "generate",
    "keep_top_k",
    "keep_top_p",
    "load_run",
    "scale_by_temperature",
]
