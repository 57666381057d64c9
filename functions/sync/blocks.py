"""Separates rows that ClickHouse would alter if they were inserted in one block.

If an array of fractions precedes an array of integers at the same path in a block, ClickHouse reads the integers as
fractions too, which alters integers beyond 2^53 (https://github.com/ClickHouse/ClickHouse/issues/120682). Rows with
fractions and rows with large integers are therefore inserted in different blocks.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from functions.sync.chunks import id_of, is_removed_key

_MAX_EXACT_INTEGER = 2**53

# PostgreSQL writes `[1, 2]` and `"key": 3`, so a number right after a bracket or a comma is in an array. Matches within
# a string do no harm. 2^53 has 16 digits.
_LONG_INTEGER = re.compile(rb"(?:\[|, )-?([0-9]{16,})")

# Replaces all digits by zeros, so that a fast substring search finds possible long integers.
_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_SIXTEEN_DIGITS = b"0" * 16
_STARTS = (b"[", b", ", b"[-", b", -")

type Path = tuple[str, ...]


def may_hold_large_integers(rows: bytes) -> bool:
    """Whether an array in the rows may hold an integer beyond 2^53; a fast check, rarely true."""
    if b"[" not in rows:
        return False
    zeros = rows.translate(_ALL_DIGITS_ZERO)
    return any(start + _SIXTEEN_DIGITS in zeros for start in _STARTS)


class _Block:
    """Rows for one insert: no path has large integers in an array of one row and fractions in another."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self._fractions: set[Path] = set()
        self._large: set[Path] = set()

    def try_add(self, rows: Sequence[bytes], fractions: set[Path], large: set[Path]) -> bool:
        """Adds the rows if they are compatible with the others; returns whether they were added."""
        if not (self._large.isdisjoint(fractions) and self._fractions.isdisjoint(large)):
            return False
        self.rows += rows
        self._fractions |= fractions
        self._large |= large
        return True


class SeparatedRows:
    """Holds back rows with large integers, to insert them in blocks of their own."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._single_events: list[list[bytes]] = []

    def without_large_integers(self, slices: Iterable[bytes]) -> Iterator[bytes]:
        """Yields the slices without the rows that are held back."""
        for rows in slices:
            if may_hold_large_integers(rows):
                events = groupby(rows.splitlines(keepends=True), id_of)
                yield b"".join(row for _, event in events for row in self._without_set_aside(list(event)))
            else:
                yield rows

    def blocks(self) -> Iterator[bytes]:
        """Yields the held back rows in few blocks; rows without common paths share a block."""
        for block in self._blocks:
            yield b"".join(block.rows)
        yield from map(b"".join, self._single_events)

    def _without_set_aside(self, rows: list[bytes]) -> list[bytes]:
        """Returns those rows of one event that are not held back.

        Removed keys go into the block of a row that is held back, so that readers see the event exactly once.
        """
        if len(rows) == 1:
            return [] if self._set_aside(rows[0]) else rows
        removed_keys = [row for row in rows if is_removed_key(row)]
        kept = []
        for row in rows:
            if not is_removed_key(row):
                if self._set_aside(row, removed_keys):
                    removed_keys = []
                else:
                    kept.append(row)
        return removed_keys + kept

    def _set_aside(self, row: bytes, removed_keys: Sequence[bytes] = ()) -> bool:
        """Holds the row back if it has large integers, and then the removed keys too; returns whether it does."""
        if not any(int(digits) > _MAX_EXACT_INTEGER for digits in _LONG_INTEGER.findall(row)):
            return False
        try:
            payload = msgspec.json.decode(row.rpartition(b"\t")[2].replace(rb"\\", b"\\"))
            numbers = list(_numbers_in_arrays(payload))
        except (msgspec.DecodeError, RecursionError):
            self._single_events.append([*removed_keys, row])  # ClickHouse will accept or refuse the row
            return True
        fractions = {path for path, number in numbers if type(number) is float}
        large = {path for path, number in numbers if abs(number) > _MAX_EXACT_INTEGER}
        if fractions & large:
            self._single_events.append([*removed_keys, row])
        elif not any(block.try_add([*removed_keys, row], fractions, large) for block in self._blocks):
            self._blocks.append(_Block())
            self._blocks[-1].try_add([*removed_keys, row], fractions, large)
        return True


def _numbers_in_arrays(value: Any, path: Path = (), *, in_array: bool = False) -> Iterator[tuple[Path, int | float]]:
    """Yields numbers that are items of arrays, each with the path of keys that leads to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers_in_arrays(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers_in_arrays(item, path, in_array=True)
    elif in_array and type(value) in (int, float):
        yield path, value
