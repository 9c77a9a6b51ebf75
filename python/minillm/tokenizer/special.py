"""Which special tokens of a text count as special: tiktoken's rule, spelled out.

A text may hold the characters of a special token because its author means the token, or because
it is untrusted input that tries to end a document. So the caller says which it is: `allowed`
tokens become their ids, `disallowed` ones are an error, and any other is ordinary text.
"""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, NoReturn, TypeAlias, TypedDict

from minillm import _core

END_OF_TEXT = "<|endoftext|>"

Allowed: TypeAlias = Literal["all"] | AbstractSet[str]
Disallowed: TypeAlias = Literal["all"] | Collection[str]


class SpecialOptions(TypedDict, total=False):
    """What each way to encode is told of special tokens; see `Codec.encode`."""

    allowed_special: Allowed
    disallowed_special: Disallowed


def names(which: Literal["all"] | Collection[str]) -> list[str] | None:
    """What the extension takes for `which`; there, `None` stands for all."""
    if which == "all":
        return None
    if isinstance(which, str):
        raise ValueError(f"special tokens are given as {which!r}, expected 'all' or a set of them")
    return list(dict.fromkeys(which))


def allowed_names(
    bpe: _core.Bpe,
    texts: str | bytes | Sequence[str | bytes],
    allowed_special: Allowed = frozenset(),
    disallowed_special: Disallowed = "all",
) -> list[str] | None:
    """What the extension takes for `allowed_special`, if no disallowed token is in `texts`.

    Args:
        bpe: Knows the special tokens.
        texts: What is to be encoded, one or many.
        allowed_special: Tokens that become their ids; unknown ones are ignored.
        disallowed_special: Any strings; "all" is every special token that is not allowed.

    Raises:
        ValueError: Naming the token, where it stands, and what to pass instead.
    """
    chosen, refused = names(allowed_special), names(disallowed_special)
    if refused is None and chosen != []:
        refused = [token for token in bpe.special_tokens() if chosen and token not in chosen]
    if refused == []:
        return chosen
    if isinstance(texts, str | bytes):
        if found := bpe.find_special(texts, refused):
            _refuse("text", texts, *found)
    elif found_in := _core.find_special_in_batch(bpe, texts, refused):
        index, token, at_byte = found_in
        _refuse(f"texts[{index}]", texts[index], token, at_byte)
    return chosen


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
