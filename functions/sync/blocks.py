"""Which rows may go to ClickHouse in one block.

Within a block, an array of integers that comes after an array of fractions at the same path is read as fractions too,
which alters integers beyond 2^53 (https://github.com/ClickHouse/ClickHouse/issues/120682). Rows that hold the one go
apart from rows that hold the other.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_MAX_EXACT_INTEGER = 2**53

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


class _Block:
    """Rows that may be inserted together: where one has large integers in an array, no other has fractions."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self._fractions: set[Path] = set()
        self._large: set[Path] = set()

    def try_add(self, row: bytes, fractions: set[Path], large: set[Path]) -> bool:
        """Takes the row, unless it does not fit in with the others."""
        if not (self._large.isdisjoint(fractions) and self._fractions.isdisjoint(large)):
            return False
        self.rows.append(row)
        self._fractions |= fractions
        self._large |= large
        return True


class SeparatedRows:
    """Takes the rows with large integers out of those that are on their way, to be inserted apart."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._single_rows: list[bytes] = []

    def without_large_integers(self, slices: Iterable[bytes]) -> Iterator[bytes]:
        """The slices, without those rows."""
        for rows in slices:
            if may_hold_large_integers(rows):
                yield b"".join(row for row in rows.splitlines(keepends=True) if not self._set_aside(row))
            else:
                yield rows

    def blocks(self) -> Iterator[bytes]:
        """What was taken out, in few blocks: rows that each have keys of their own share one."""
        for block in self._blocks:
            yield b"".join(block.rows)
        yield from self._single_rows

    def _set_aside(self, row: bytes) -> bool:
        if not any(int(digits) > _MAX_EXACT_INTEGER for digits in _LONG_INTEGER.findall(row)):
            return False
        try:
            payload = msgspec.json.decode(row.rpartition(b"\t")[2].replace(rb"\\", b"\\"))
            numbers = list(_numbers_in_arrays(payload))
        except (msgspec.DecodeError, RecursionError):
            self._single_rows.append(row)  # ClickHouse will say what it thinks of it
            return True
        fractions = {path for path, number in numbers if type(number) is float}
        large = {path for path, number in numbers if abs(number) > _MAX_EXACT_INTEGER}
        if fractions & large:
            self._single_rows.append(row)
        elif not any(block.try_add(row, fractions, large) for block in self._blocks):
            self._blocks.append(_Block())
            self._blocks[-1].try_add(row, fractions, large)
        return True


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
