"""Finds rows that ClickHouse refuses, records them with the reason, and retries them on request.

The key of a refused row is marked as removed. ClickHouse then shows no older version of the row: the event is missing
there, and waits in `rejected_events`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared import event_columns
from functions.shared.identifier import derived_id
from functions.shared.postgres import Connection
from functions.sync.changed_days import ChangedDays, dates
from functions.sync.chunks import as_removed_key, id_of, is_removed_key, row_columns, timestamp_of
from functions.sync.places import Places
from functions.sync.table import RowRefused, insert

CODE = "refused_by_clickhouse"

_RECORD = sql.SQL("""
    INSERT INTO rejected_events (id, received_at, source, code, message, body, event_id)
    SELECT %(rejected_id)s, now(), 'sync', %(code)s, %(reason)s, to_jsonb(stored)::text, stored.id
    FROM (
        SELECT {columns}, xact_id
        FROM ai_usage_events
        WHERE id = %(id)s AND timestamp = %(timestamp)s::timestamptz
    ) AS stored
    ON CONFLICT (id) DO UPDATE SET attempts = rejected_events.attempts + 1, message = excluded.message,
        body = excluded.body, replayed_at = NULL
""").format(columns=sql.SQL(event_columns.ALL))

# A row that was changed, moved or deleted since it was refused must not come back: the sync copies the change. A row
# whose month PostgreSQL no longer has is nowhere else. Rows of before epochs were recorded without their transaction.
_IS_OUTDATED = sql.SQL("""
    to_regclass('ai_usage_events_' || to_char(recorded.timestamp AT TIME ZONE 'UTC', 'YYYYMM')) IS NOT NULL
    AND NOT EXISTS (
        SELECT
        FROM ai_usage_events
        WHERE ai_usage_events.id = recorded.id
          AND ai_usage_events.timestamp = recorded.timestamp
          AND ai_usage_events.xact_id = recorded.xact_id
    )
""")

_WAITING = sql.SQL("""
    COPY (
        SELECT rejected_id, {row}
        FROM (
            SELECT rejected_events.id AS rejected_id, {columns}, coalesce(recorded.xact_id, '0') AS xact_id
            FROM rejected_events
            CROSS JOIN LATERAL jsonb_to_record(body::jsonb) AS recorded ({definitions}, xact_id xid8)
            WHERE source = 'sync' AND replayed_at IS NULL AND NOT ({is_outdated})
        ) AS stored
    ) TO STDOUT
""").format(
    row=row_columns("stored", sql.SQL("0")),
    columns=sql.SQL(", ").join(sql.Identifier("recorded", name) for name in event_columns.NAMES),
    definitions=sql.SQL(event_columns.ALL_WITH_TYPES),
    is_outdated=_IS_OUTDATED,
)

_CLOSE_OUTDATED = sql.SQL("""
    UPDATE rejected_events
    SET replayed_at = now()
    WHERE source = 'sync'
      AND replayed_at IS NULL
      AND EXISTS (
          SELECT
          FROM jsonb_to_record(body::jsonb) AS recorded (id uuid, timestamp timestamptz, xact_id xid8)
          WHERE {is_outdated}
      )
""").format(is_outdated=_IS_OUTDATED)

# The events of months that PostgreSQL still has move there, and are copied from there.
_PLACES = """
    SELECT rejected_events.id, recorded.namespace_path, recorded.project_id
    FROM rejected_events
    CROSS JOIN LATERAL jsonb_to_record(body::jsonb) AS recorded (
        timestamp timestamptz, namespace_path text, project_id bigint
    )
    WHERE source = 'sync'
      AND replayed_at IS NULL
      AND namespace_path IS NOT NULL
      AND to_regclass('ai_usage_events_' || to_char(timestamp AT TIME ZONE 'UTC', 'YYYYMM')) IS NULL
"""

_SET_PLACE = """
    UPDATE rejected_events
    SET body = jsonb_set(body::jsonb, '{namespace_path}', to_jsonb(%(path)s::text))::text
    WHERE id = %(id)s
"""

_COUNT_WAITING = "SELECT count(*) FROM rejected_events WHERE source = 'sync' AND replayed_at IS NULL"

_REPLAYED = "UPDATE rejected_events SET replayed_at = now() WHERE id = %s"

_REFUSED_AGAIN = "UPDATE rejected_events SET attempts = attempts + 1, message = %s WHERE id = %s"


class Refusal(msgspec.Struct, frozen=True):
    """A row that ClickHouse refused, with the reason.

    Attributes:
        message: ClickHouse's message, which may quote the row.
        reason: description that may be logged.
    """

    row: bytes
    message: str
    reason: str


def insert_accepted(client: Client, rows: Sequence[bytes]) -> Iterator[Refusal]:
    """Inserts the rows that ClickHouse accepts, by halving, and yields the refused ones.

    Rows with one id stay in one insert, unless one of them is refused.

    Raises:
        ClickHouseError: an error other than a refused row.
    """
    yield from _insert_accepted(client, [list(event) for _, event in groupby(rows, id_of)])


def _insert_accepted(client: Client, events: Sequence[list[bytes]]) -> Iterator[Refusal]:
    try:
        insert(client, [row for event in events for row in event])
    except RowRefused as refused:
        if len(events) == 1:
            yield from _insert_accepted_rows(client, events[0], refused)
            return
        half = len(events) // 2
        yield from _insert_accepted(client, events[:half])
        yield from _insert_accepted(client, events[half:])


def _insert_accepted_rows(client: Client, rows: Sequence[bytes], refused: RowRefused) -> Iterator[Refusal]:
    """Inserts the accepted rows of one event, and marks the keys of the refused ones as removed."""
    removed_keys = []
    for row in rows:
        if is_removed_key(row):
            removed_keys.append(row)
            continue
        try:
            if len(rows) > 1:
                insert(client, [row])
                continue
        except RowRefused as of_this_row:
            refused = of_this_row
        removed_keys.append(as_removed_key(row))
        yield Refusal(row, refused.message, refused.reason)
    for removed_key in removed_keys:
        with suppress(RowRefused):  # ClickHouse has no row with a key that it refuses
            insert(client, [removed_key])


def record(connection: Connection, refusals: Iterable[Refusal]) -> None:
    """Records refused rows in `rejected_events`; call it within a transaction."""
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
    """Counts the refused rows that were not replayed."""
    row = connection.execute(_COUNT_WAITING).fetchone()
    return int(row[0]) if row else 0


def replay(connection: Connection, client: Client, epoch: int, changed: ChangedDays) -> tuple[int, int]:
    """Inserts the recorded rows that were neither replayed nor changed since.

    Args:
        changed: records the days of the rows.

    Returns:
        Number of rows that ClickHouse accepted, and number that it refused again.
    """
    connection.execute(_CLOSE_OUTDATED)
    _follow_moves(connection)
    with connection.cursor().copy(_WAITING, {"epoch": str(epoch)}) as copy:
        waiting = [bytes(row).split(b"\t", 1) for row in copy]
    changed.record(dates(timestamp_of(row)[:10].encode() for _, row in waiting))
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


def _follow_moves(connection: Connection) -> None:
    """Has rows that are nowhere else follow the moves of their namespaces and projects since they were refused."""
    places = Places(connection)
    for rejected_id, path, project in connection.execute(_PLACES).fetchall():
        place = places.of(path, project)
        if place != path:
            connection.execute(_SET_PLACE, {"id": rejected_id, "path": place})
