"""Gives refilled rows transaction numbers that a new server has passed, and that keep the meaning of recorded moves.

A move of a namespace takes along the rows of transactions before it. The transactions of the lost server have numbers
that the new server has not come to yet. Only the order between a row and the moves matters. So the numbers of the moves
become 2, 3, 4 and so on, in their order, and a row gets the greatest of these that is not above its own number, or 1.

A server that was put back to a moment has rows of its own. There the numbers begin after a base, which is the number of
the transaction that restored the directory: all that the server had by then is before the restored moves, and after the
moves that it knew.

A row in ClickHouse has the number of the server from which it was copied. If that server was itself refilled, a row
that was not copied again has the number of the server before, and is translated as that refill did.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from functions.sync.chunks import EPOCH_FACTOR


class Translation(NamedTuple):
    """How a refill translates transaction numbers.

    Attributes:
        epoch: first epoch of rows that were copied from the refilled database.
        thresholds: numbers of the lost database on which moves depend, in their order.
        base: number after which those of refilled rows begin. Lower ones have kept their meaning.
    """

    epoch: int
    thresholds: Sequence[int]
    base: int = 0

    @property
    def last(self) -> int:
        """Returns the greatest number of a refilled row."""
        return self.base + len(self.thresholds) + 1

    def of(self, number: int) -> int:
        """Returns what becomes of a number.

        >>> [Translation(2, [10, 20]).of(number) for number in (9, 10, 19, 20, 99)]
        [1, 2, 2, 3, 3]
        >>> [Translation(2, [80, 90], base=70).of(number) for number in (9, 79, 80, 90)]
        [9, 71, 72, 73]
        """
        passed = bisect_right(self.thresholds, number)
        return self.base + 1 + passed if passed else min(number, self.base + 1)


def thresholds_of(moves: Iterable[tuple[int, Sequence[int]]]) -> list[int]:
    """Returns the numbers on which moves depend.

    Args:
        moves: of each move, the number before which transactions count, and the later ones that count too.
    """
    found = set[int]()
    for before, late in moves:
        found.add(before)
        for number in late:
            found |= {number, number + 1}
    return sorted(found)


def translated_version(translations: Iterable[Translation]) -> str:
    """Returns ClickHouse's expression for the number of a refilled row.

    Args:
        translations: of all refills in their order, the present one last.
    """
    expression = f"(version % {EPOCH_FACTOR})"
    for one in translations:
        first, numbers = one.base + 1, ", ".join(map(str, one.thresholds))
        translated = f"least({expression}, {first})"
        if numbers:
            passed = f"arrayCount(number -> number <= {expression}, [{numbers}])"
            translated = f"if({passed} = 0, {translated}, {first} + {passed})"
        expression = f"if(version < {one.epoch * EPOCH_FACTOR}, {translated}, {expression})"
    return expression
