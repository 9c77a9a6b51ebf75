"""A small instruction set in the words of the built-in stories: `train.jsonl` and `val.jsonl`.

    python docs/examples/instructions.py chat          # 3,000 conversations to train on
    python docs/examples/instructions.py chat 20000

Eight kinds of requests with one right answer each, drawn by seed, so that one can see at a glance
whether a model has learned to answer; `docs/finetune.md` trains one on it. The first kinds take
seconds to learn, the last ones many minutes.
"""

import json
import random
import sys
from pathlib import Path

NAMES = ("Lily", "Tom", "Mia", "Leo", "Pip", "Momo", "Biscuit", "Clover")
ANIMALS = ("dog", "cat", "rabbit", "fox", "duck", "mouse", "hedgehog", "goat")
THINGS = ("ball", "kite", "boat", "hat", "drum", "scarf", "lantern", "whistle")
COLORS = ("red", "blue", "green", "yellow", "purple", "silver", "golden", "striped")


def request(rng: random.Random) -> tuple[str, str]:
    """What is asked, and the answer."""
    name, other = rng.sample(NAMES, 2)
    animal, thing = rng.choice(ANIMALS), rng.choice(THINGS)
    color, words = rng.choice(COLORS), rng.sample((*ANIMALS, *THINGS), 4)
    one, two = rng.randint(1, 99), rng.randint(1, 99)
    return rng.choice(
        [
            (f"Is a {animal} an animal or a thing?", f"A {animal} is an animal."),
            (f"Is a {thing} an animal or a thing?", f"A {thing} is a thing."),
            (f"{name} lost a {color} {thing}. Who lost it?", f"{name} lost the {thing}."),
            (f"{name} lost a {color} {thing}. Which color was it?", f"It was {color}."),
            (f"Say hello to {name} and {other}.", f"Hello, {name}! Hello, {other}!"),
            (f"Spell {name}.", "-".join(name.upper()) + "."),
            (f"Put in order: {', '.join(words)}.", f"{', '.join(sorted(words))}."),
            (f"What is {one} + {two}?", f"{one} + {two} = {one + two}."),
        ]
    )


def write(path: Path, count: int, rng: random.Random) -> None:
    """Writes so many conversations of one to three requests each."""
    with path.open("w") as file:
        for _ in range(count):
            turns = []
            for _ in range(rng.randint(1, 3)):
                asked, answer = request(rng)
                turns.append({"role": "user", "content": asked})
                turns.append({"role": "assistant", "content": answer})
            file.write(json.dumps({"messages": turns}) + "\n")


if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int([*sys.argv, "3000"][2])
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)  # noqa: S311  no secrets
    write(folder / "train.jsonl", count, rng)
    write(folder / "val.jsonl", 100, rng)
