"""Scans JSON text for values that may not be storable, without decoding it."""

import re

_BACKSLASH = b"\\"  # searching for one byte is much faster than searching for several

# Maps all digits to zero. A row of zeros then reveals an integer that may exceed 64 bits; three zeros after an exponent
# mark reveal a number that may exceed a double.
_AS_WRITTEN = bytes.maketrans(b"123456789+E", b"0000000000e")
_LONG_NUMBER = b"0" * len(str(2**63))
_LARGE_EXPONENT = b"0e000"
_END_OF_LARGE_EXPONENT = re.compile(rb"0e0+[,\]}\s]")  # a hexadecimal id ends with a quote

# Everything between here and PostgreSQL accepts nearly twice as many nested objects and arrays.
MAX_OPENINGS = 5_000


def holds(text: bytes, part: bytes) -> bool:
    """Whether `text` contains `part`. Python searches short parts from the end twice as fast as from the beginning."""
    return text.rfind(part) >= 0


def may_be_unstorable(text: bytes) -> bool:
    """Whether a string may contain U+0000, or an integer may exceed 64 bits. May also be true for storable text."""
    return holds_nul(text) or holds(text.translate(_AS_WRITTEN), _LONG_NUMBER)


def holds_nul(text: bytes) -> bool:
    """Whether the text contains U+0000, as JSON escapes it."""
    return _BACKSLASH in text and holds(text, rb"\u0000")


def may_nest_deep(text: bytes) -> bool:
    """Whether the text has enough brackets and braces to be nested too deep."""
    return text.count(b"[") + text.count(b"{") > MAX_OPENINGS


def is_plain(text: bytes) -> bool:
    """Whether all values of a text that is not nested deep can certainly be stored; False if they need a check."""
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
