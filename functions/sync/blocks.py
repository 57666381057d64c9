"""Which rows may go to ClickHouse in one block.

Within a block, an array of integers that comes after an array of fractions at the same path is read as fractions too,
which alters integers beyond 2^53 (https://github.com/ClickHouse/ClickHouse/issues/120682). Rows that hold the one go
apart from rows that hold the other.
"""

import re

# PostgreSQL writes `[1, 2]` and `"key": 3`: a number right after a bracket or a comma is in an array. What looks like
# one within a string does no harm. 2^53 has 16 digits.
_LARGE_INTEGER = re.compile(rb"(?:\[|, )-?[0-9]{16}")
_FRACTION = re.compile(rb"(?:\[|, )-?[0-9]+\.")

# As fast as looking at so many bytes can be: what may be large integers once all digits are zeros.
_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_SIXTEEN_DIGITS = b"0" * 16
_STARTS = (b"[", b", ", b"[-", b", -")


def blocks_of(rows: bytes) -> list[bytes]:
    """The rows, in as few blocks as keep every integer as it is."""
    zeros = rows.translate(_ALL_DIGITS_ZERO)
    if not any(start + _SIXTEEN_DIGITS in zeros for start in _STARTS):
        return [rows]
    usual, large, both = [], [], []
    for row in rows.splitlines(keepends=True):
        if not _LARGE_INTEGER.search(row):
            usual.append(row)
        elif not _FRACTION.search(row):
            large.append(row)
        else:
            both.append(row)
    return [block for block in (b"".join(usual), b"".join(large), *both) if block]
