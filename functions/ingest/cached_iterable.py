"""An iterable that computes its items lazily and keeps them for the next iteration."""

from collections.abc import Iterable, Iterator


class CachedIterable[Item](Iterable[Item]):
    """Caches the items of an iterator: each is computed once, and can be iterated any number of times."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._made: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        yield from self._made
        for item in self._items:
            self._made.append(item)
            yield item
