"""Which rows may go to ClickHouse in one block.

Within a block, an array of integers that comes after an array of fractions at the same path is read as fractions too,
which alters integers beyond 2^53 (https://github.com/ClickHouse/ClickHouse/issues/120682). Rows that hold the one go
apart from rows that hold the other.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_LARGEST_EXACT_FLOAT = 2**53

# PostgreSQL writes `[1, 2]` and `"key": 3`: a number right after a bracket or a comma is in an array. What looks like
# one within a string does no harm. 2^53 has 16 digits.
_LONG_INTEGER = re.compile(rb"(?:\[|, )-?([0-9]{16,})")

# As fast as looking at so many bytes can be: what may be long integers once all digits are zeros.
_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_SIXTEEN_DIGITS = b"0" * 16
_STARTS = (b"[", b", ", b"[-", b", -")

type Path = tuple[str, ...]


def may_hold_large_integers(rows: bytes) -> bool:
    """Whether an array in one of the rows may hold an integer beyond 2^53; soon said, and rarely yes."""
    if b"[" not in rows:
        return False
    zeros = rows.translate(_ALL_DIGITS_ZERO)
    return any(start + _SIXTEEN_DIGITS in zeros for start in _STARTS)


class SeparatedRows:
    """Takes the rows with large integers out of those that are on their way, to be inserted apart."""

    def __init__(self) -> None:
        self._groups: defaultdict[object, list[bytes]] = defaultdict(list)

    def passing(self, slices: Iterable[bytes]) -> Iterator[bytes]:
        """The slices, without those rows."""
        for rows in slices:
            if may_hold_large_integers(rows):
                yield b"".join(row for row in rows.splitlines(keepends=True) if not self._takes(row))
            else:
                yield rows

    def blocks(self) -> Iterator[bytes]:
        """What was taken out: the rows that have fractions and large integers at the same paths together."""
        for rows in self._groups.values():
            yield b"".join(rows)

    def _takes(self, row: bytes) -> bool:
        if not any(int(digits) > _LARGEST_EXACT_FLOAT for digits in _LONG_INTEGER.findall(row)):
            return False
        self._groups[_group_of(row)].append(row)
        return True


def _group_of(row: bytes) -> object:
    """What is the same for rows that may be in one block; the row itself where no other may be in its."""
    try:
        payload = msgspec.json.decode(row.rpartition(b"\t")[2].replace(rb"\\", b"\\"))
        numbers = list(_numbers_in_arrays(payload))
    except (msgspec.DecodeError, RecursionError):
        return row  # ClickHouse will say what it thinks of it
    fractions = frozenset(path for path, number in numbers if type(number) is float)
    large = frozenset(path for path, number in numbers if abs(number) > _LARGEST_EXACT_FLOAT)
    return row if fractions & large else (fractions, large)


def _numbers_in_arrays(value: Any, path: Path = (), *, in_array: bool = False) -> Iterator[tuple[Path, int | float]]:
    """The numbers that are items of arrays, each with the keys that lead to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers_in_arrays(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers_in_arrays(item, path, in_array=True)
    elif in_array and type(value) in (int, float):
        yield path, value
