"""What the extension could not take, refused by name before it sees it."""

import warnings
from collections.abc import Iterable, Sequence


def check_numbers(bits: int = 32, **options: int | Iterable[int]) -> None:
    """Refuses numbers that the extension could not take, by name."""
    for name, given in options.items():
        for value in given if isinstance(given, Iterable) else [given]:
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} is {value}, expected 0 to {(1 << bits) - 1}")


def check_special_tokens(special_tokens: object) -> None:
    """Refuses a string where a list of them is expected."""
    # A string is an iterable of strings: without this, each of its letters became a special token.
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens is {special_tokens!r}, expected a list of them")


def check_counting(
    special_tokens: object, weights: Sequence[int], max_memory: int | None, temp_dir: object
) -> None:
    """Refuses options of counting, or warns of one that has no effect."""
    check_special_tokens(special_tokens)
    check_numbers(64, weights=weights, max_memory=max_memory or 0)
    warn_of_temp_dir(temp_dir, max_memory)


def warn_of_temp_dir(temp_dir: object, max_memory: int | None) -> None:
    """Says that a folder was named for what finds no room, and that all will find room."""
    if temp_dir is not None and max_memory is None:
        warnings.warn(
            f"temp_dir `{temp_dir}` has no effect: nothing goes to disk without max_memory",
            stacklevel=4,
        )
