"""Deletes the events of a user or a namespace from PostgreSQL, some at a time."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from functions.shared.postgres import Connection
from infra.operations.erasure.clickhouse import EventKey
from infra.operations.erasure.record import Record, count
from infra.operations.erasure.subject import Kind, Subject

ROWS_AT_ONCE = 2000
"""Approximate number of rows that one transaction deletes; short, because consumers may wait for it."""

# The end of a slice by time, which an index finds for one user and for one path.
_SLICE_END: dict[Kind, str] = {
    "user": """
        SELECT timestamp
        FROM ai_usage_events
        WHERE user_id = %(value)s
        ORDER BY timestamp
        OFFSET %(rows)s
        LIMIT 1
    """,
    "namespace": """
        SELECT timestamp
        FROM ai_usage_events
        WHERE namespace_path = %(value)s
        ORDER BY timestamp
        OFFSET %(rows)s
        LIMIT 1
    """,
}

_DELETE_SLICE: dict[Kind, str] = {
    "user": "DELETE FROM ai_usage_events WHERE user_id = %(value)s AND timestamp <= %(end)s",
    "namespace": "DELETE FROM ai_usage_events WHERE namespace_path = %(value)s AND timestamp <= %(end)s",
}

_FIRST_PATH = """
    SELECT namespace_path
    FROM ai_usage_events
    WHERE namespace_path >= %(low)s AND namespace_path < %(high)s
    ORDER BY namespace_path
    LIMIT 1
"""

_RECORD_OF: dict[Kind, str] = {
    "user": "user_id = %(user_id)s",
    "namespace": "namespace_path >= %(low)s AND namespace_path < %(high)s",
}

# All keys that an event had, also as another user's or in another namespace, if PostgreSQL no longer has the event.
_REMOVED = """
    SELECT id, to_char(timestamp AT TIME ZONE 'UTC', 'YYYYMM')::integer
    FROM removed_keys
    WHERE id IN (SELECT id FROM removed_keys WHERE {condition})
      AND NOT EXISTS (SELECT FROM ai_usage_events AS event WHERE event.id = removed_keys.id)
"""

_DELETE_RECORDS = """
    DELETE FROM removed_keys
    WHERE {condition}
       OR id IN (SELECT id FROM removed_keys WHERE {condition})
          AND NOT EXISTS (SELECT FROM ai_usage_events AS event WHERE event.id = removed_keys.id)
"""


def delete_events(connection: Connection, record: Record, progress: Callable[[int], None]) -> None:
    """Deletes all events of the subject; counts them in the record.

    Args:
        progress: called with the number of rows of each slice.
    """
    subject = record.within.subject
    for value in _values(connection, subject):
        while deleted := _delete_slice(connection, record, value):
            progress(deleted)


def removed_events(connection: Connection, subject: Subject) -> list[EventKey]:
    """Returns the events that were the subject's last, and whose removal the sync has not copied to ClickHouse yet."""
    statement = _REMOVED.format(condition=_RECORD_OF[subject.kind])
    return connection.execute(statement, subject.values()).fetchall()


def delete_removed_keys(connection: Connection, subject: Subject) -> None:
    """Deletes the records of the removal, by which the sync would mark rows that ClickHouse no longer has."""
    connection.execute(_DELETE_RECORDS.format(condition=_RECORD_OF[subject.kind]), subject.values())


def _values(connection: Connection, subject: Subject) -> Iterator[Any]:
    """Yields the user's id, or one path after another until none within the namespace has events."""
    if subject.kind == "user":
        yield int(subject.name)
        return
    while row := connection.execute(_FIRST_PATH, subject.values()).fetchone():
        yield row[0]


def _delete_slice(connection: Connection, record: Record, value: Any) -> int:
    """Deletes the oldest rows; again if somebody moved one of them to another month meanwhile."""
    kind = record.within.subject.kind
    while True:
        try:
            with connection.transaction():
                end = connection.execute(_SLICE_END[kind], {"value": value, "rows": ROWS_AT_ONCE}).fetchone()
                values = {"value": value, "end": end[0] if end else "infinity"}
                deleted = connection.execute(_DELETE_SLICE[kind], values).rowcount
                count(connection, record, "events", deleted)
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            continue
        return deleted
