"""Cuts the texts that groups are sorted by, so that the place of a group fits into a cursor.

Groups are sorted by the beginning of a text, then by a digest of the whole text if it is longer.
"""

import hashlib
from collections.abc import Sequence

_CHARACTERS = 1_800  # of all texts of a group: six bytes each in JSON, and a third more in base64, fit into a variable


def cut_at(paths: Sequence[object]) -> int:
    """The number of characters of each text that groups are sorted by, if they are grouped by these paths."""
    return _CHARACTERS // max(1, len(paths))


def cut(text: str, length: int) -> tuple[str, str]:
    """The first characters of a text, and its digest; an empty one if these are all.

    >>> cut("ruby", 4), cut("ruby", 2)
    (('ruby', ''), ('ru', '58e53d1324eef6265fdb97b08ed9aadf'))
    """
    if len(text) <= length:
        return text, ""
    return text[:length], hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
