"""Reads the events of a user or a namespace from both stores, each event once."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.graphql.clickhouse.payload_sql import SETTINGS
from functions.shared import event_columns
from functions.shared.catalog.registry import Registry
from functions.shared.postgres import Connection
from infra.operations.erasure.clickhouse import has_table
from infra.operations.erasure.subject import Kind, Subject

_ROWS_AT_ONCE = 1000

_COLUMNS = ", ".join(event_columns.NAMES_BESIDE_PAYLOAD)

_IN_POSTGRESQL: dict[Kind, sql.SQL] = {
    "user": sql.SQL("""
        SELECT {columns}, payload::text
        FROM ai_usage_events
        WHERE user_id = %(user_id)s
        ORDER BY timestamp, id
    """),
    "namespace": sql.SQL("""
        SELECT {columns}, payload::text
        FROM ai_usage_events
        WHERE namespace_path >= %(low)s AND namespace_path < %(high)s
        ORDER BY timestamp, id
    """),
}

_IN_CLICKHOUSE = """
    SELECT {columns}, toJSONString(payload)
    FROM ai_usage_events FINAL
    WHERE {condition}
    ORDER BY timestamp, UUIDToNum(id)
"""

_CLICKHOUSE_SETTINGS = SETTINGS | {
    "max_block_size": _ROWS_AT_ONCE,
    "max_bytes_before_external_sort": 256 * 1024 * 1024,
}

# PostgreSQL is right about an event that both stores have, and about one that it removed a moment ago.
_KNOWN = """
    SELECT id, date_trunc('month', timestamp, 'UTC') FROM ai_usage_events WHERE id = ANY(%(ids)s)
    UNION ALL
    SELECT id, timestamp FROM removed_keys WHERE id = ANY(%(ids)s)
"""

_EVENT_TYPES = "SELECT id, name FROM event_types"


class EventLine(msgspec.Struct, tag_field="record", tag="event"):
    """The line of an event.

    Attributes:
        event: name; None if no definition has ever named the event.
        event_id: id of the event's type.
    """

    id: UUID
    timestamp: datetime
    event: str | None
    event_id: int
    user_id: int
    namespace_path: str | None
    project_id: int | None
    payload: msgspec.Raw


def event_names(connection: Connection, registry: Registry) -> dict[int, str]:
    """Returns the names of event types by id, as this release and the deployed one define them."""
    deployed: dict[int, str] = dict(connection.execute(_EVENT_TYPES).fetchall())
    return deployed | {number: event.name for number, event in registry.by_id.items()}


def of_postgresql(connection: Connection, subject: Subject, names: Mapping[int, str]) -> Iterator[EventLine]:
    """Yields the events that PostgreSQL has. Requires an open transaction."""
    statement = _IN_POSTGRESQL[subject.kind].format(columns=sql.SQL(_COLUMNS))
    with connection.cursor(name="exported_events") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        for row in cursor.execute(statement, subject.values()):
            yield _line(row, names)


def of_clickhouse_alone(
    client: Client, connection: Connection, subject: Subject, names: Mapping[int, str]
) -> Iterator[EventLine]:
    """Yields the events that only ClickHouse has."""
    if not has_table(client):
        return
    statement = _IN_CLICKHOUSE.format(columns=_COLUMNS, condition=subject.clickhouse_condition)
    stream = client.query_row_block_stream(
        statement, parameters=subject.clickhouse_values, settings=_CLICKHOUSE_SETTINGS
    )
    with stream:
        for rows in stream:
            known = set(connection.execute(_KNOWN, {"ids": [row[0] for row in rows]}).fetchall())
            for identifier, timestamp, *rest in rows:
                moment = timestamp.replace(tzinfo=UTC)
                month = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
                if not known & {(identifier, month), (identifier, moment)}:
                    event, user_id, path, project_id, payload = rest
                    own = (identifier, moment, event, user_id, path or None, project_id or None, payload)
                    yield _line(own, names)


def _line(row: Sequence[Any], names: Mapping[int, str]) -> EventLine:
    identifier, timestamp, event_id, user_id, path, project_id, payload = row
    raw = msgspec.Raw(payload.encode())
    return EventLine(identifier, timestamp, names.get(event_id), event_id, user_id, path, project_id, raw)
