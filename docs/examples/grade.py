"""How many requests a model answers word for word, and the first that it does not.

    python docs/examples/grade.py runs/chat chat/val.jsonl

Each request is asked after the right answers to those before it, at temperature 0.
"""

import json
import sys
from pathlib import Path

from minillm.chat import Talk
from minillm.infer import load_run

SHOWN = 5
"""Wrong answers to show."""


def grade(run: Path, conversations: Path) -> None:
    """Asks all requests of a file and prints what came of it."""
    talk = Talk(load_run(run), system="", seed=0)
    talk.change({"temperature": 0.0})
    n_asked, wrong = 0, []
    for line in conversations.read_text(encoding="utf-8").splitlines():
        turns = json.loads(line)["messages"]
        for place in range(0, len(turns), 2):
            asked, expected = (turn["content"] for turn in turns[place : place + 2])
            talk.turns = turns[:place]
            said = "".join(talk.answer(asked)).strip()
            n_asked += 1
            if said != expected:
                wrong.append(f"{asked} -> {said}")
    print(f"{n_asked - len(wrong)} of {n_asked} answers are right")  # noqa: T201
    print("\n".join(wrong[:SHOWN]))  # noqa: T201


if __name__ == "__main__":
    grade(Path(sys.argv[1]), Path(sys.argv[2]))
