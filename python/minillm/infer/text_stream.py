"""Tokens in, printable text out, as early as it is certain.

Two things make a token's text uncertain when the token arrives. Its last bytes may be the first
part of a character; they wait for the rest. And the end of the text may be the start of a stop
string; it waits until it is one or is not. What is emitted never has to be taken back, and how the
bytes were cut into tokens changes nothing about the whole. Any tokenizer will do: nothing is asked
of it but the bytes of ids.
"""

import codecs
from collections.abc import Collection, Iterator, Sequence

from minillm.config import SampleConfig
from minillm.infer.generate import Generation, NewToken, absent_ids
from minillm.model import Transformer
from minillm.tokenizer import TextEncoder


class TextStream:
    """Decodes ids piece by piece and cuts the text before the first stop string.

    The first stop string is the one that is complete first; of two that are complete with the
    same character, the longer one counts. Bytes that are not UTF-8 come out as U+FFFD.

    Args:
        tokenizer: What the ids are of.
        stop: Strings that end the text and are not part of it.

    Raises:
        ValueError: If a stop string is empty: it would stop everything.
    """

    def __init__(self, tokenizer: TextEncoder, stop: Sequence[str] = ()) -> None:
        if "" in stop:
            raise ValueError("a stop string is empty, expected at least one character")
        self._stop = tuple(stop)
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def push(self, ids: Sequence[int]) -> str:
        """Takes ids, mostly one; returns the text that is now certain, often some of it.

        After a stop string, `stopped` is true and all further text is dropped.
        """
        return self._emit(self._decoder.decode(self._tokenizer.decode_bytes(ids)))

    def finish(self) -> str:
        """Returns what was still held back: no more ids will come."""
        text = self._emit(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _emit(self, new: str) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        end = self._first_stop(text)
        if end is not None:
            self.stopped = True
            self._held = ""
            return text[:end]
        certain = len(text) - self._held_back(text)
        self._held = text[certain:]
        return text[:certain]

    def _first_stop(self, text: str) -> int | None:
        """Where the first complete stop string starts."""
        starts = [(text.find(stop), len(stop)) for stop in self._stop]
        found = [(start + length, start) for start, length in starts if start >= 0]
        return min(found)[1] if found else None

    def _held_back(self, text: str) -> int:
        """Length of the longest end of `text` that some stop string starts with."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stop):
                return length
        return 0


def stream_texts(
    model: Transformer,
    tokenizer: TextEncoder,
    prompts: Sequence[Sequence[int]],
    config: SampleConfig,
    *,
    seeds: Sequence[int],
    stop_ids: Collection[int] = (),
    logprobs: int | None = None,
) -> Iterator[tuple[NewToken, str]]:
    """Continues texts side by side; yields each new token with the text that it makes certain.

    A text ends at the end-of-text token, at one of `stop_ids` or of those in `config`, at one of
    `config.stop`, or after `max_new_tokens`; the last of its tokens then says which, and comes with
    all of the text that is still to come. Where a stop string is cut out, tokens before that one
    may have had a part in it.

    Args:
        model: See `Generation`, which also says what is refused.
        tokenizer: The model's.
        prompts: Ids of each text so far; see `prompt_ids`.
        config: How to draw, how many, and where to stop.
        seeds: Of each text.
        stop_ids: Tokens that end a text, beside the end-of-text token.
        logprobs: See `Generation`.
    """
    streams = [TextStream(tokenizer, config.stop) for _ in prompts]
    generation = Generation(
        model,
        prompts,
        config,
        seeds=seeds,
        stop_ids={*stop_ids, *(() if tokenizer.eot_id is None else (tokenizer.eot_id,))},
        absent=absent_ids(tokenizer, model.config.vocab_size),
        logprobs=logprobs,
    )
    return _with_text(generation, streams)


def _with_text(
    generation: Generation, streams: Sequence[TextStream]
) -> Iterator[tuple[NewToken, str]]:
    for new in generation:
        stream = streams[new.row]
        text = "" if new.finish == "stop" else stream.push([new.id])
        if stream.stopped:
            generation.stop(new.row)
            yield new._replace(finish="stop"), text
        else:
            yield new, text + (stream.finish() if new.finish else "")
