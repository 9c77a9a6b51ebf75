"""Conversations from JSONL, and rows of them packed for fine-tuning.

A line is a conversation in OpenAI's form, `{"messages": [{"role": ..., "content": ...}, ...]}`, or
an instruction in Alpaca's, `{"instruction": ..., "input": ..., "output": ...}`, which becomes a
user's turn and an assistant's.

Rows are filled with whole conversations, none of which is cut, and none sees another: each is a
document of its own to attention's mask, and its positions begin at 0. What is left of a row is
padding. Which conversations share a row is settled once, in the order of their lengths, longest
first, each into the fullest row that still holds it (best fit decreasing); the order of the rows is
a keyed permutation of each epoch, as for text.
"""

import bisect
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from minillm._core import Order, Rows
from minillm.config.sections import IGNORED
from minillm.data.batches import CPU, Batch, to_device
from minillm.data.chat_template import ChatTemplate, Conversation, Messages


class Conversations:
    """The conversations of a file as tokens.

    Attributes:
        path: The file.
        sha256: Hash of its contents.
        kept: Those that fit.
        left_out: Lines of those that are longer than `seq_len` + 1 tokens.
    """

    def __init__(self, path: Path, template: ChatTemplate, *, seq_len: int) -> None:
        """Reads the whole file.

        Raises:
            ValueError: Naming file and line, if one is not a conversation that teaches something,
                or the file, if none of them is short enough.
            OSError: If it cannot be read.
        """
        self.path = path
        content = path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        read: list[tuple[int, Conversation]] = []
        began_s = time.monotonic()
        for number, line in enumerate(content.split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                conversation = template.encode(_messages(line))
                if not any(conversation.learned):
                    raise ValueError("no message is an assistant's that is to be learned")
                if time.monotonic() - began_s > 60 + number / 20:  # many times what any has taken
                    raise ValueError("the chat template takes too long: over 50 ms on average")
            except ValueError as error:
                raise ValueError(f"`{path}`, line {number}: {error}") from error
            read.append((number, conversation))
        if not read:
            raise ValueError(f"`{path}` holds no conversation")
        self.kept = [one for _, one in read if len(one.ids) <= seq_len + 1]
        self.left_out = [number for number, one in read if len(one.ids) > seq_len + 1]
        if not self.kept:
            shortest = min(len(one.ids) for _, one in read)
            raise ValueError(
                f"`{path}` holds no conversation of at most {seq_len + 1} tokens"
                f"\nhint: the shortest has {shortest}: raise --seq-len to {shortest - 1} or more"
            )


class ConversationBatches:
    """Batches of packed conversations, by number.

    Attributes:
        source: Where they come from.
        windows: Rows per epoch.
        order: Which rows come when.
    """

    def __init__(
        self,
        source: Conversations,
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Packs the conversations, which are no longer than `seq_len` + 1 tokens.

        `rank` of `world` processes takes every `world`-th row, as in `Batches`.
        """
        self.source, self.seq_len, self.batch_size = source, seq_len, batch_size
        self.rank, self.world = rank, world
        self._packed = pack([len(one.ids) - 1 for one in source.kept], seq_len)
        self.windows = len(self._packed)
        self.order = Order([Rows.windows(self.windows, 1)], [1.0], seed)

    def batch(self, index: int, device: torch.device = CPU) -> Batch:
        """Micro-step `index` on `device`, counted from 0 over the whole run."""
        _, rows = self.order.rows(index, self.batch_size, self.rank, self.world)
        return self._stack(rows.tolist(), device)

    def in_order(self, *, max_batches: int | None) -> Iterator[Batch]:
        """Every row once, or `max_batches` from the first on, for evaluation."""
        wanted = self.windows if max_batches is None else max_batches * self.batch_size
        for first in range(0, min(wanted, self.windows), self.batch_size):
            yield self._stack(range(first, min(first + self.batch_size, self.windows)))

    def _stack(self, rows: Sequence[int], device: torch.device = CPU) -> Batch:
        shape = (len(rows), self.seq_len)
        ids, targets = np.zeros(shape, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
        documents = np.full(shape, -1, dtype=np.int64)  # padding sees padding alone
        for row, number in enumerate(rows):
            start = 0
            for member in self._packed[number]:
                one = self.source.kept[member]
                end = start + len(one.ids) - 1
                ids[row, start:end] = one.ids[:-1]
                targets[row, start:end] = np.where(one.learned[1:], one.ids[1:], IGNORED)
                documents[row, start:end] = member
                start = end
        n_targets = int((targets != IGNORED).sum())
        moved = [to_device(array, device) for array in (ids, targets, documents)]
        return Batch(moved[0], moved[1], moved[2], n_targets)


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Which items go into one bin: best fit decreasing, equals in their order.

    Uses at most 11/9 of the fewest bins possible, plus one (Johnson, 1973).

    Args:
        lengths: Of each item; none longer than `capacity`.
        capacity: Of a bin.
    """
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # room left and number of each bin, ascending
    for item in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        place = bisect.bisect_left(free, (lengths[item], -1))
        if place == len(free):
            free.append((capacity, len(bins)))
            bins.append([])
        room, number = free.pop(place)
        bins[number].append(item)
        bisect.insort(free, (room - lengths[item], number))
    return bins


def _messages(line: bytes) -> Messages:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except (json.JSONDecodeError, RecursionError) as error:
        problem = str(error).replace("line 1 ", "")  # the file's is told already
        raise ValueError(f"not JSON: {problem}") from error
    if isinstance(row, Mapping) and "instruction" in row and "messages" not in row:
        asked = (
            f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]
        )
        answer = {"role": "assistant", "content": row.get("output")}
        return [{"role": "user", "content": asked}, answer]
    if not isinstance(row, Mapping) or "messages" not in row:
        raise ValueError(
            'neither a conversation, {"messages": [...]}, nor an instruction,'
            ' {"instruction": ..., "output": ...}'
        )
    if odd := [key for key in ("tools", "functions") if row.get(key)]:
        raise ValueError(f"`{odd[0]}` are not read: there is nothing to call")
    messages: Messages = row["messages"]
    return messages
