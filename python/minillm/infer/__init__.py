"""Using a trained model: load a run, sample tokens, stream their text."""

from minillm.infer.generate import Generation, NewToken, absent_ids, check_prompt, prompt_ids
from minillm.infer.run import CHAT_TEMPLATE, LoadedRun, load_run
from minillm.infer.sampling import (
    Sampler,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_probabilities,
    penalize_repetition,
    scale_by_temperature,
)
from minillm.infer.text_stream import TextStream, stream_texts

__all__ = [
    "CHAT_TEMPLATE", "Generation", "LoadedRun", "NewToken", "Sampler", "TextStream", "absent_ids",
    "check_prompt", "keep_min_p", "keep_top_k", "keep_top_p", "load_run", "log_probabilities",
    "penalize_repetition", "prompt_ids", "scale_by_temperature", "stream_texts",
]  # fmt: skip
