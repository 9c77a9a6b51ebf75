"""Using a trained model: load a run, sample tokens, stream their text."""

from minillm.infer.generate import Generation, NewToken, absent_ids, check_prompt, prompt_ids
from minillm.infer.run import CHAT_TEMPLATE, LoadedRun, load_run
from minillm.infer.sampling import Sampler
from minillm.infer.text_stream import TextStream, stream_texts

__all__ = [
    "CHAT_TEMPLATE", "Generation", "LoadedRun", "NewToken", "Sampler", "TextStream", "absent_ids",
    "check_prompt", "load_run", "prompt_ids", "stream_texts",
]  # fmt: skip
