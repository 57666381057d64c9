"""Deletes rejected events that are older than the retention."""

from datetime import datetime

from functions.shared.postgres import Connection

_BATCH = 2000

# A row that ClickHouse refused stays as long as its monthly table; without it, the row would count as missing.
_COUNT = """
    SELECT count(*)
    FROM rejected_events
    WHERE received_at < %(before)s
      AND CASE WHEN source = 'sync' THEN (body::jsonb ->> 'timestamp')::timestamptz < %(oldest)s ELSE true END
"""

# SKIP LOCKED leaves events that are being replayed to the next run.
_DELETE = """
    WITH old AS (
        SELECT id
        FROM rejected_events
        WHERE received_at < %(before)s
          AND CASE WHEN source = 'sync' THEN (body::jsonb ->> 'timestamp')::timestamptz < %(oldest)s ELSE true END
        ORDER BY received_at
        LIMIT %(batch)s
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM rejected_events USING old WHERE rejected_events.id = old.id
"""


def count_rejected(connection: Connection, before: datetime, oldest: datetime) -> int:
    """Returns how many events `delete_rejected` would delete."""
    row = connection.execute(_COUNT, {"before": before, "oldest": oldest}).fetchone()
    return int(row[0]) if row else 0


def delete_rejected(connection: Connection, before: datetime, oldest: datetime) -> int:
    """Deletes rejected events received before `before`, in batches, and returns how many.

    Args:
        oldest: start of the oldest month in PostgreSQL; later events that ClickHouse refused stay.
    """
    deleted, last = 0, _BATCH
    while last == _BATCH:
        last = connection.execute(_DELETE, {"before": before, "oldest": oldest, "batch": _BATCH}).rowcount
        deleted += last
    return deleted
