"""Rejected events that are as old as events may get."""

from datetime import datetime

from functions.shared.postgres import Connection

_BATCH = 2000

_COUNT = "SELECT count(*) FROM rejected_events WHERE received_at < %s"

# One that is being replayed is left for the next run.
_DELETE = """
    WITH old AS (
        SELECT id
        FROM rejected_events
        WHERE received_at < %(before)s
        ORDER BY received_at
        LIMIT %(batch)s
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM rejected_events USING old WHERE rejected_events.id = old.id
"""


def count_rejected(connection: Connection, before: datetime) -> int:
    """How many were received before then."""
    row = connection.execute(_COUNT, [before]).fetchone()
    return int(row[0]) if row else 0


def delete_rejected(connection: Connection, before: datetime) -> int:
    """Deletes those that were received before then, some thousands a statement, and returns how many."""
    deleted, last = 0, _BATCH
    while last == _BATCH:
        last = connection.execute(_DELETE, {"before": before, "batch": _BATCH}).rowcount
        deleted += last
    return deleted
