"""Rows that ClickHouse refuses: found among their neighbours, kept with the reason, and tried again when asked to."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared import event_columns
from functions.shared.identifier import derived_id
from functions.shared.postgres import Connection
from functions.sync.chunks import id_of, row_columns, timestamp_of
from functions.sync.table import RowRefused, insert

CODE = "refused_by_clickhouse"

_RECORD = sql.SQL("""
    INSERT INTO rejected_events (id, received_at, source, code, message, body, event_id)
    SELECT %(rejected_id)s, now(), 'sync', %(code)s, %(reason)s, to_jsonb(stored)::text, stored.id
    FROM (
        SELECT {columns}
        FROM ai_usage_events
        WHERE id = %(id)s AND timestamp = %(timestamp)s::timestamptz
    ) AS stored
    ON CONFLICT (id) DO UPDATE SET attempts = rejected_events.attempts + 1, message = excluded.message,
        replayed_at = NULL
""").format(columns=sql.SQL(event_columns.ALL))

_WAITING = sql.SQL("""
    COPY (
        SELECT rejected_events.id, {row}
        FROM rejected_events
        CROSS JOIN LATERAL jsonb_to_record(body::jsonb) AS stored ({columns})
        WHERE source = 'sync' AND replayed_at IS NULL
    ) TO STDOUT
""").format(row=row_columns("stored"), columns=sql.SQL(event_columns.ALL_WITH_TYPES))

_COUNT_WAITING = "SELECT count(*) FROM rejected_events WHERE source = 'sync' AND replayed_at IS NULL"

_REPLAYED = "UPDATE rejected_events SET replayed_at = now() WHERE id = %s"

_REFUSED_AGAIN = "UPDATE rejected_events SET attempts = attempts + 1, message = %s WHERE id = %s"


class Refusal(msgspec.Struct, frozen=True):
    """A row that ClickHouse does not take, and why.

    Attributes:
        message: what ClickHouse says, which may quote the row.
        reason: the same in words that may be logged.
    """

    row: bytes
    message: str
    reason: str


def insert_others(client: Client, rows: Sequence[bytes]) -> Iterator[Refusal]:
    """Inserts those of the rows that ClickHouse takes, by halving, and yields the others.

    Raises:
        ClickHouseError: something else went wrong.
    """
    try:
        insert(client, [b"".join(rows)])
    except RowRefused as refused:
        if len(rows) == 1:
            yield Refusal(rows[0], refused.message, refused.reason)
            return
        half = len(rows) // 2
        yield from insert_others(client, rows[:half])
        yield from insert_others(client, rows[half:])


def record(connection: Connection, refusals: Iterable[Refusal]) -> None:
    """Keeps the rows, which are stored in PostgreSQL, in `rejected_events`. Belongs within a transaction."""
    for refusal in refusals:
        event_id, timestamp = UUID(id_of(refusal.row)), timestamp_of(refusal.row)
        values = {
            "rejected_id": derived_id(datetime.fromisoformat(f"{timestamp}+00:00"), f"sync/{event_id}", 0),
            "code": CODE,
            "reason": refusal.message,
            "id": event_id,
            "timestamp": timestamp,
        }
        connection.execute(_RECORD, values)


def count_waiting(connection: Connection) -> int:
    """How many rows ClickHouse has refused that were not replayed."""
    row = connection.execute(_COUNT_WAITING).fetchone()
    return int(row[0]) if row else 0


def replay(connection: Connection, client: Client) -> tuple[int, int]:
    """Inserts the recorded rows that were not replayed yet.

    Returns:
        How many ClickHouse took, and how many it refused again.
    """
    with connection.cursor().copy(_WAITING) as copy:
        waiting = [bytes(row).split(b"\t", 1) for row in copy]
    refused = 0
    for rejected_id, row in waiting:
        try:
            insert(client, [row])
        except RowRefused as refusal:
            connection.execute(_REFUSED_AGAIN, [refusal.message, rejected_id.decode()])
            refused += 1
        else:
            connection.execute(_REPLAYED, [rejected_id.decode()])
    return len(waiting) - refused, refused
