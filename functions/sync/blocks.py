"""Which rows may go to ClickHouse in one block.

Within a block, an array of integers that comes after an array of fractions at the same path is read as fractions too,
which alters integers beyond 2^53 (https://github.com/ClickHouse/ClickHouse/issues/120682). Rows that hold the one go
apart from rows that hold the other.
"""

import re
from collections.abc import Iterable, Iterator

# PostgreSQL writes `[1, 2]` and `"key": 3`: a number right after a bracket or a comma is in an array. What looks like
# one within a string does no harm. 2^53 has 16 digits.
_LARGE_INTEGER = re.compile(rb"(?:\[|, )-?[0-9]{16}")
_FRACTION = re.compile(rb"(?:\[|, )-?[0-9]+\.")

# As fast as looking at so many bytes can be: what may be large integers once all digits are zeros.
_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_SIXTEEN_DIGITS = b"0" * 16
_STARTS = (b"[", b", ", b"[-", b", -")


def may_hold_large_integers(rows: bytes) -> bool:
    """Whether an array in one of the rows may hold an integer beyond 2^53; soon said, and rarely yes."""
    if b"[" not in rows:
        return False
    zeros = rows.translate(_ALL_DIGITS_ZERO)
    return any(start + _SIXTEEN_DIGITS in zeros for start in _STARTS)


class Apart:
    """Takes the rows with large integers out of those that are on their way, to be inserted apart."""

    def __init__(self) -> None:
        self._large: list[bytes] = []
        self._with_fractions: list[bytes] = []

    def passing(self, slices: Iterable[bytes]) -> Iterator[bytes]:
        """The slices, without those rows."""
        for rows in slices:
            if may_hold_large_integers(rows):
                yield b"".join(row for row in rows.splitlines(keepends=True) if not self._takes(row))
            else:
                yield rows

    def blocks(self) -> list[bytes]:
        """What was taken out, in as few blocks as keep every integer as it is."""
        return [b"".join(self._large), *self._with_fractions] if self._large else self._with_fractions

    def _takes(self, row: bytes) -> bool:
        if not _LARGE_INTEGER.search(row):
            return False
        (self._with_fractions if _FRACTION.search(row) else self._large).append(row)
        return True
