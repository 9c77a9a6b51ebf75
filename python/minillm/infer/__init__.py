"""Using a trained model: load a run, sample tokens, stream their text."""

from minillm.infer.generate import absent_ids, check_prompt, generate, prompt_ids
from minillm.infer.run import LoadedRun, load_run
from minillm.infer.sampling import Sampler, keep_top_k, keep_top_p, scale_by_temperature
from minillm.infer.text_stream import TextStream

__all__ = [
    "LoadedRun",
    "Sampler",
    "TextStream",
    "absent_ids",
    "check_prompt",
    "generate",
    "keep_top_k",
    "keep_top_p",
    "load_run",
    "prompt_ids",
    "scale_by_temperature",
]
