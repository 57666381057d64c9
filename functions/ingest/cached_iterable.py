"""Items that are made while they are used, and can be used again."""

from collections.abc import Iterable, Iterator


class CachedIterable[Item](Iterable[Item]):
    """What an iterator yields, each made once, however often and however far it is asked for."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._made: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        yield from self._made
        for item in self._items:
            self._made.append(item)
            yield item
