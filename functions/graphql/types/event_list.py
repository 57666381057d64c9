"""`EventList`: makes a list of what a query selects of events."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from graphql import FieldNode

from functions.graphql.query.store import EVENT, EventRow
from functions.graphql.types.event_columns import EventColumns, Read, ReadValues
from functions.graphql.types.payload_columns import is_scalar, values_reader
from functions.shared.catalog.payload_type import PayloadType


class UsernamePlace(NamedTuple):
    """A place where a query selects the user's name: the names in the answer below an item of a list."""

    keys: tuple[str, ...]
    nodes: tuple[FieldNode, ...]


class EventReader:
    """Reads the selected fields of events of one type, or of several types with the same selected fields.

    Args:
        keys: scalar keys of the whole plan.
        payload: types of the payload keys.
    """

    def __init__(
        self,
        read: Read,
        usernames: Sequence[UsernamePlace],
        keys: Mapping[str, int],
        payload: Mapping[str, PayloadType],
    ) -> None:
        self.usernames = usernames
        self._read = read
        self._keys = keys
        self._payload = {key: key_type for key, key_type in payload.items() if is_scalar(key_type)}

    def read(self, rows: Sequence[EventRow]) -> Sequence[Any]:
        """The selected fields of each row, at least one."""
        return self._read(EventColumns(rows, self._read_values))

    @cached_property
    def _read_values(self) -> ReadValues:
        return values_reader(tuple(self._keys), self._payload)


class EventList:
    """Makes a list of the selected fields of events.

    Args:
        readers: by event id.
    """

    def __init__(self, readers: Mapping[int, EventReader]) -> None:
        self._readers = readers
        self._only = next(iter(readers.values())) if len(set(readers.values())) == 1 else None

    def __call__(self, rows: Sequence[EventRow]) -> Sequence[Any]:
        """The list of the rows, to encode as JSON."""
        if self._only is not None or not rows:
            return self._only.read(rows) if self._only and rows else []
        found: list[Any] = [None] * len(rows)
        for reader, places in self._places(rows).items():
            for place, item in zip(places, reader.read([rows[place] for place in places]), strict=True):
                found[place] = item
        return found

    def usernames(self, rows: Sequence[EventRow]) -> Iterator[tuple[int, UsernamePlace]]:
        """All usernames in the list of the rows, each with the index of its item."""
        for reader, places in self._places(rows).items():
            yield from ((place, username) for place in places for username in reader.usernames)

    def _places(self, rows: Sequence[EventRow]) -> Mapping[EventReader, Sequence[int]]:
        """The indexes of the rows that each reader reads."""
        found: dict[EventReader, list[int]] = {}
        for place, row in enumerate(rows):
            found.setdefault(self._readers[row[EVENT]], []).append(place)
        return found
