"""What the text of JSON shows of the values in it, without reading them."""

import re

_BACKSLASH = b"\\"  # one byte is found far faster than several

# Digits as zeros, so that a number is found by how it is written: one outside 64 bits that is no fraction by so many
# of them in a row, and one outside a double, else, by the three of its exponent.
_AS_WRITTEN = bytes.maketrans(b"123456789+E", b"0000000000e")
_LONG_NUMBER = b"0" * len(str(2**63))
_LARGE_EXPONENT = b"0e000"
_END_OF_LARGE_EXPONENT = re.compile(rb"0e0+[,\]}\s]")  # what an id of hexadecimal digits has not

# What is between here and PostgreSQL takes nearly twice as many objects and arrays in each other, if not all as many.
MAX_OPENINGS = 5_000


def holds(text: bytes, part: bytes) -> bool:
    """Whether `part`, some bytes long, is in `text`: Python looks from the end twice as fast as from the beginning."""
    return text.rfind(part) >= 0


def may_be_unstorable(text: bytes) -> bool:
    """Whether a string in it may hold U+0000, or an integer be outside 64 bits: some that are not can't be stored."""
    return holds_nul(text) or holds(text.translate(_AS_WRITTEN), _LONG_NUMBER)


def holds_nul(text: bytes) -> bool:
    """Whether U+0000 is in it, as JSON writes it."""
    return _BACKSLASH in text and holds(text, rb"\u0000")


def may_nest_deep(text: bytes) -> bool:
    """Whether it has so many objects and arrays that they may be nested deeper than everything can take."""
    return text.count(b"[") + text.count(b"{") > MAX_OPENINGS


def is_plain(text: bytes) -> bool:
    """Whether the values in a JSON text that does not nest deep can certainly be stored: others are worth a look."""
    if not _is_utf_8(text) or holds_nul(text):
        return False
    written = text.translate(_AS_WRITTEN)
    return not holds(written, _LONG_NUMBER) and not _has_large_exponent(written)


def _is_utf_8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def _has_large_exponent(written: bytes) -> bool:
    position = written.rfind(_LARGE_EXPONENT)
    while position >= 0:
        if _END_OF_LARGE_EXPONENT.match(written, position):
            return True
        position = written.rfind(_LARGE_EXPONENT, 0, position)
    return False
