"""Halves of surrogate pairs, as programs leave them in JSON strings that they cut."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

_ESCAPED_BACKSLASH = b"\\\\"
_SURROGATES = tuple(rb"\u%b%b" % (d.encode(), x.encode()) for d in "dD" for x in "89abcdefABCDEF")
_HALF = re.compile(
    rb"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
)
_NEVER_IN_UTF_8 = (b"\xff", b"\xfe", b"\xfd", b"\xfc", b"\xfb", b"\xfa", b"\xf9", b"\xf8", b"\xc1", b"\xc0")


class Hidden(NamedTuple):
    """JSON whose escapes of surrogates are hidden, so that a decoder can split it.

    Attributes:
        mark: stands for a backslash; the text as it was written does not contain it.
    """

    text: bytes
    mark: bytes

    def restored(self, parts: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
        """Returns parts of the text as they were written."""
        return [msgspec.Raw(bytes(part).replace(self.mark, b"\\")) for part in parts]


def hide_surrogates(text: bytes) -> Hidden | None:
    """Returns JSON with its escapes of surrogates hidden; None if it has none.

    msgspec refuses a whole text for half a pair, even if it only splits the text.
    """
    if rb"\u" not in text:
        return None
    mark = next((byte for byte in _NEVER_IN_UTF_8 if byte not in text), None)
    if mark is None:
        return None
    hidden = plain = text.replace(_ESCAPED_BACKSLASH, mark * 2)
    for escape in _SURROGATES:  # a replacement is much faster than a regular expression
        hidden = hidden.replace(escape, mark + escape[1:])
    return None if hidden == plain else Hidden(hidden, mark)


def holds_half_a_pair(text: bytes) -> bool:
    """Whether JSON holds an escape of half a surrogate pair."""
    return rb"\u" in text and _HALF.search(text.replace(_ESCAPED_BACKSLASH, b"  ")) is not None
