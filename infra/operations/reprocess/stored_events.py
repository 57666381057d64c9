"""Reads stored events of PostgreSQL, newest first, some at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from functions.shared.partitions import partitions
from functions.shared.postgres import Connection
from functions.shared.traversal_path import namespace_upper_bound

ROWS_AT_ONCE = 500
"""Events that one transaction changes; whoever else writes them waits no longer than for these."""

_COLUMNS = "event.id, timestamp, event, user_id, namespace_path, project_id, payload::text, xact_id::text"

_SELECTED = f"""
    SELECT {_COLUMNS}
    FROM ai_usage_events AS event
    WHERE event = ANY(%(events)s)
      AND (%(users)s::bigint[] IS NULL OR user_id = ANY(%(users)s::bigint[]))
      AND timestamp >= %(first)s
      AND timestamp <= %(timestamp)s
      AND (timestamp, id) < (%(timestamp)s, %(id)s)
      AND (
          %(path)s::text IS NULL
          OR (namespace_path >= %(path)s::text COLLATE "C" AND namespace_path < %(upper_bound)s::text COLLATE "C")
      )
    ORDER BY timestamp DESC, id DESC
    LIMIT %(limit)s
"""  # noqa: S608 - constants

# In the order in which the mover locks rows, so that the two do not wait for each other.
LOCKED = f"""
    SELECT {_COLUMNS}
    FROM unnest(%(ids)s::uuid[], %(timestamps)s::timestamptz[]) AS wanted (id, at)
    JOIN ai_usage_events AS event ON event.id = wanted.id AND event.timestamp = wanted.at
    ORDER BY timestamp DESC, event.id DESC
    FOR NO KEY UPDATE OF event
"""  # noqa: S608 - constants

_FIRST_ID, _DAY, _INSTANT = UUID(int=0), timedelta(days=1), timedelta(microseconds=1)


class StoredEvent(NamedTuple):
    """A row of `ai_usage_events`.

    Attributes:
        payload: JSON.
        xact_id: transaction of the last change.
    """

    id: UUID
    timestamp: datetime
    event: int
    user_id: int
    namespace_path: str | None
    project_id: int | None
    payload: str
    xact_id: str

    @property
    def position(self) -> "Position":
        """Returns the position of the event in the order of reading."""
        return Position(self.timestamp, self.id)


class Position(NamedTuple):
    """A position in the order of reading. What comes next is before it in time, or of the same time with a lower id."""

    timestamp: datetime
    id: UUID

    @classmethod
    def before(cls, moment: datetime) -> "Position":
        """Returns the position from which all events before a moment come next."""
        return cls(moment, _FIRST_ID)

    @property
    def first_of_day(self) -> datetime:
        """Returns the beginning, in UTC, of the day of the next event that is possible."""
        moment = self.timestamp.astimezone(UTC)
        if self.id == _FIRST_ID:
            moment -= _INSTANT
        return moment.replace(hour=0, minute=0, second=0, microsecond=0)


class Selection(msgspec.Struct, frozen=True):
    """Which events to read.

    Attributes:
        events: ids of event types.
        start: moment of the first events.
        end: moment before which the last events are.
        namespace: traversal path of a namespace, which stands for all below it too; None for everything.
        users: ids of users; empty for all.
    """

    events: tuple[int, ...]
    start: datetime
    end: datetime
    namespace: str | None = None
    users: tuple[int, ...] = ()


class Page(NamedTuple):
    """Some events, and the position after them."""

    events: Sequence[StoredEvent]
    after: Position


def next_page(connection: Connection, selection: Selection, position: Position) -> Page | None:
    """Returns the next events, none of them for a day without any; None at the end of the selection.

    A statement reads one day at most, so that it does not take long where few events are selected.
    """
    if position.timestamp <= selection.start and position.id == _FIRST_ID:
        return None
    first = max(position.first_of_day, selection.start)
    path = selection.namespace
    values: dict[str, Any] = {
        "events": list(selection.events),
        "first": first,
        "timestamp": position.timestamp,
        "id": position.id,
        "path": path,
        "users": list(selection.users) or None,
        "upper_bound": None if path is None else namespace_upper_bound(path),
        "limit": ROWS_AT_ONCE,
    }
    events = [StoredEvent(*row) for row in connection.execute(_SELECTED, values)]
    is_full = len(events) == ROWS_AT_ONCE
    return Page(events, events[-1].position if is_full else Position.before(first))


def first_kept_moment(connection: Connection) -> datetime | None:
    """Returns the beginning of the oldest month that PostgreSQL has; None without a partition."""
    names = partitions(connection)
    return datetime(int(names[0][-6:-2]), int(names[0][-2:]), 1, tzinfo=UTC) if names else None
