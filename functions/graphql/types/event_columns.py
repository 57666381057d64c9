"""Makes the answer of many events of one type at once: a column of values for each selected field.

Nothing is called for each event and field but what decodes or formats a value.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from functions.graphql.global_id import EVENT as EVENT_KIND
from functions.graphql.global_id import USER, GlobalId
from functions.graphql.query.path import Path, payload_at_paths
from functions.graphql.query.store import ID, PAYLOAD, TIMESTAMP, VALUES, EventPosition, EventRow
from functions.graphql.types.cursor import to_cursor
from functions.graphql.types.payload_columns import Column, json_value

_MAX_CLASSES = 1000

type ReadValues = Callable[[Sequence[str]], Mapping[str, Column]]
type Read = Callable[["EventColumns"], Column]
"""Returns the value of a field for each event."""


class EventColumns:
    """The columns of some events.

    Args:
        read_values: reads the column `VALUES`, as a column of each key.
    """

    def __init__(self, rows: Sequence[EventRow], read_values: ReadValues) -> None:
        self.count = len(rows)
        self._columns = list(zip(*rows, strict=True))
        self._read_values = read_values

    def __getitem__(self, index: int) -> Column:
        """The column with this index in an `EventRow`."""
        return self._columns[index]

    @cached_property
    def values(self) -> Mapping[str, Column]:
        """A column of each requested scalar key."""
        return self._read_values(self[VALUES])

    @cached_property
    def cursors(self) -> Column:
        """The cursor of each event."""
        return [to_cursor(EventPosition(*both)) for both in zip(self[TIMESTAMP], self[ID], strict=True)]


def cursor_of(row: EventRow) -> str:
    """The cursor of an event."""
    return to_cursor(EventPosition(row[TIMESTAMP], row[ID]))


def objects(fields: Sequence[tuple[str, Read]]) -> Read:
    """Reads objects with these fields, by their name in the answer."""
    of_names = object_class(tuple(name for name, _ in fields))

    def read(events: EventColumns) -> Column:
        if not fields:
            return [of_names() for _ in range(events.count)]  # of a type that no fragment is about
        return list(map(of_names, *(read_field(events) for _, read_field in fields)))

    return read


@lru_cache(_MAX_CLASSES)
def object_class(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """A class of objects with these names in JSON, made of values in the same order.

    Such objects take a third of a dict's time to make and to encode.
    """
    attributes = {f"field_{number}": name for number, name in enumerate(names)}
    return msgspec.defstruct("AnsweredObject", [(name, Any) for name in attributes], rename=attributes, gc=False)


def always(value: object) -> Read:
    """Reads the same value of each event."""
    return lambda events: [value] * events.count


def stored(index: int) -> Read:
    """Reads a column as it is stored."""
    return lambda events: events[index]


def mapped(index: int, convert: Callable[[Any], Any]) -> Read:
    """Reads a column, and converts each value."""
    return lambda events: list(map(convert, events[index]))


def user_node_id(user_id: int) -> str:
    """The global id of a user."""
    return str(GlobalId(USER, str(user_id)))


def node_ids(events: EventColumns) -> Column:
    """Reads the global ids. They hold the timestamp, so that a store finds the event without a search."""
    return [str(GlobalId(EVENT_KIND, cursor)) for cursor in events.cursors]


def cursors(events: EventColumns) -> Column:
    """Reads the cursors."""
    return events.cursors


def payloads(events: EventColumns) -> Column:
    """Reads the whole payloads."""
    return list(map(msgspec.Raw, events[PAYLOAD]))


def scalar(key: str) -> Read:
    """Reads the value of a payload key with a scalar type."""
    return lambda events: events.values[key]


def nested(index: int, convert: Callable[[Any], Any]) -> Read:
    """Reads the value in a column of JSON, and converts each value."""
    return lambda events: [convert(json_value(text)) for text in events[index]]


def reduced_payloads(paths: Sequence[Path], indexes: Sequence[int]) -> Read:
    """Reads the payloads, reduced to the values at the paths, which are in columns of these indexes."""

    def read(events: EventColumns) -> Column:
        if not paths:
            return [{}] * events.count
        rows = zip(*(events[index] for index in indexes), strict=True)
        return [payload_at_paths(paths, [text if text is None else msgspec.Raw(text) for text in row]) for row in rows]

    return read
