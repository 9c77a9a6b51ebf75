"""Which special tokens of a text count as special: tiktoken's rule, spelled out.

A text may hold the characters of a special token because its author means the token, or because
it is untrusted input that tries to end a document. So the caller says which it is: `allowed`
tokens become their ids, `disallowed` ones are an error, and any other is ordinary text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, NoReturn, TypeAlias

from minillm import _core

END_OF_TEXT = "<|endoftext|>"

AllowedSpecial: TypeAlias = Literal["all"] | AbstractSet[str]
DisallowedSpecial: TypeAlias = Literal["all"] | Collection[str]


def names(which: Literal["all"] | Collection[str]) -> list[str] | None:
    """What the extension takes for `which`; there, `None` stands for all."""
    if which == "all":
        return None
    if isinstance(which, str):
        raise ValueError(f"special tokens are given as {which!r}, expected 'all' or a set of them")
    return list(dict.fromkeys(which))


def allowed_names(
    bpe: _core.Bpe, text: str, allowed: AllowedSpecial, disallowed: DisallowedSpecial
) -> list[str] | None:
    """What the extension takes for `allowed`, once no disallowed token is found in `text`.

    Args:
        bpe: Knows the special tokens.
        text: What is to be encoded.
        allowed: Tokens that become their ids; unknown ones are ignored.
        disallowed: Any strings; "all" is every special token that is not allowed.

    Raises:
        ValueError: Naming the token, where it stands, and what to pass instead.
    """
    chosen, refused = _chosen_and_refused(bpe, allowed, disallowed)
    found = None if refused == [] else bpe.find_special(text, refused)
    if found is not None:
        _refuse("text", text, *found)
    return chosen


def allowed_names_of_batch(
    bpe: _core.Bpe,
    texts: Sequence[str | bytes],
    allowed: AllowedSpecial,
    disallowed: DisallowedSpecial,
) -> list[str] | None:
    """As `allowed_names`, once no disallowed token is found in any of `texts`."""
    chosen, refused = _chosen_and_refused(bpe, allowed, disallowed)
    found = None if refused == [] else _core.find_special_in_batch(bpe, texts, refused)
    if found is not None:
        index, token, at_byte = found
        _refuse(f"texts[{index}]", texts[index], token, at_byte)
    return chosen


def _chosen_and_refused(
    bpe: _core.Bpe, allowed: AllowedSpecial, disallowed: DisallowedSpecial
) -> tuple[list[str] | None, list[str] | None]:
    chosen, refused = names(allowed), names(disallowed)
    if refused is None and chosen != []:
        refused = [token for token in bpe.special_tokens() if chosen and token not in chosen]
    return chosen, refused


def _refuse(where: str, text: str | bytes, token: str, at_byte: int) -> NoReturn:
    if isinstance(text, bytes):
        place = f"byte {at_byte}"
    else:
        place = f"character {len(text.encode()[:at_byte].decode())}"
    error = ValueError(
        f"{where} holds the special token {token!r} at {place}, "
        "which is neither allowed nor declared ordinary text"
    )
    error.add_note(f"to encode it as its id, pass allowed_special={{{token!r}}} or 'all'")
    error.add_note("to encode it as ordinary text, pass disallowed_special=()")
    raise error


def refuse_text(special_tokens: object) -> None:
    """Refuses a string where a list of them is expected."""
    # A string is an iterable of strings: without this, each of its letters became a special token.
    if isinstance(special_tokens, str):
        raise ValueError(f"special_tokens is {special_tokens!r}, expected a list of them")
