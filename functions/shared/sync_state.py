"""How far ClickHouse has come behind PostgreSQL: what the sync writes down, and what others ask of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import sql

from functions.shared.postgres import Connection

_READ = "SELECT xact_id, id, caught_up_at FROM sync_state WHERE target = %s"

# A transaction that is open may yet commit rows; all below the oldest such transaction are there to be seen. Since when
# others' transactions are open is shown only to roles that may read all statistics.
_WATERMARK = """
    SELECT pg_snapshot_xmin(pg_current_snapshot()),
           CASE
               WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start IS NULL)
               THEN least(
                   now(),
                   (SELECT min(xact_start) FROM pg_stat_activity WHERE backend_xid IS NOT NULL),
                   (SELECT min(prepared) FROM pg_prepared_xacts)
               )
           END
"""

# A transaction that PostgreSQL has not come to yet can't have written a row, unless in another PostgreSQL.
_FUTURE_ROW = """
    SELECT xact_id
    FROM ai_usage_events
    WHERE xact_id >= pg_snapshot_xmax(pg_current_snapshot())
    ORDER BY xact_id DESC
    LIMIT 1
"""

_COUNT = sql.SQL("SELECT count(*) FROM {table} WHERE (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid)")


class Position(msgspec.Struct, frozen=True, order=True):
    """Where a row is in the order in which rows are copied: by transaction, then by id."""

    xact_id: int
    id: UUID

    def values(self) -> dict[str, Any]:
        """The position as a statement's values `xact_id` and `id`."""
        return {"xact_id": str(self.xact_id), "id": self.id}


BEGINNING = Position(0, UUID(int=0))
"""Before every row."""


class SyncState(msgspec.Struct, frozen=True):
    """What is known of one table in ClickHouse.

    Attributes:
        cursor: every row up to here, and below the watermark, is there.
        caught_up_at: everything that was committed before then is there; None until the first backfill has caught up.
    """

    cursor: Position = BEGINNING
    caught_up_at: datetime | None = None


class Watermark(msgspec.Struct, frozen=True):
    """Up to where rows can be copied without missing one.

    Attributes:
        xact_id: every transaction below it has ended: its rows can be seen, or never will be.
        complete_until: everything that was committed before then is below it; None where that is not known.
    """

    xact_id: int
    complete_until: datetime | None


def read_state(connection: Connection, target: UUID) -> SyncState:
    """How far the sync has come with the table that `target` identifies."""
    row = connection.execute(_READ, [str(target)]).fetchone()
    return SyncState(Position(int(row[0]), row[1]), row[2]) if row else SyncState()


def read_watermark(connection: Connection) -> Watermark:
    """The watermark of this moment."""
    row = connection.execute(_WATERMARK).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM answers with one row")
    return Watermark(int(row[0]), row[1])


def foreign_position(connection: Connection, cursor: Position) -> int | None:
    """The transaction of the cursor, or of a row, that only another PostgreSQL can have come to, if there is one.

    This one was then restored from that one, and its own transactions have numbers that count as copied long ago.
    """
    watermark = read_watermark(connection).xact_id
    row = connection.execute(_FUTURE_ROW).fetchone()
    newest = max(cursor.xact_id, int(row[0]) if row else 0)
    return newest if newest >= watermark else None


def count_unsynced(connection: Connection, table: str, cursor: Position) -> int:
    """How many rows of `table`, the events or a partition of theirs, are beyond the cursor."""
    row = connection.execute(_COUNT.format(table=sql.Identifier(table)), cursor.values()).fetchone()
    return int(row[0]) if row else 0
