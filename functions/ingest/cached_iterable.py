"""An iterable that computes its items lazily and keeps them for the next iteration."""

from collections.abc import Iterable, Iterator


class CachedIterable[Item](Iterable[Item]):
    """Caches the items of an iterator: each is computed once, and can be iterated any number of times.

    An iteration may begin while another one is under way.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._made: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        index = 0
        while index < len(self._made) or self._make_next():
            yield self._made[index]
            index += 1

    def _make_next(self) -> bool:
        """Computes the next item; returns whether there is one."""
        for item in self._items:
            self._made.append(item)
            return True
        return False
