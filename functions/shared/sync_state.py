"""Reads how far the sync has copied events from PostgreSQL to ClickHouse."""

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.pq import TransactionStatus

from functions.shared.postgres import Connection

_READ = "SELECT xact_id, id, caught_up_at FROM sync_state WHERE target = %s"

# All rows below the oldest open transaction are visible, because an open transaction may still commit rows. Open
# transactions of other databases on the server can't write here and are skipped if the database is certain: the process
# that has the transaction's id connected to its database before the transaction began. That holds only for processes
# that are read after the snapshot was taken, in a statement of its own, because a transaction sees the statistics that
# it read first. A prepared transaction has no process; the watermark waits for it whatever its database. Only roles
# that may read all statistics see the start times of other roles' transactions.
_OPEN_TRANSACTIONS = sql.SQL("""
    open_transactions AS MATERIALIZED (
        SELECT xact_id, process.pid, prepared.gid,
               coalesce(process.datname, prepared.database) AS database,
               coalesce(process.usename, prepared.owner) AS role,
               coalesce(process.xact_start, prepared.prepared) AS started_at,
               process.datid = (SELECT oid FROM pg_database WHERE datname = current_database()) AS is_of_this_database
        FROM pg_snapshot_xip(pg_current_snapshot()) AS snapshot (xact_id)
        LEFT JOIN pg_stat_activity AS process ON process.backend_xid = xact_id::xid
        LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = xact_id::xid
    )
""")

_WATERMARK = sql.SQL("""
    WITH {open_transactions}
    SELECT coalesce(min(xact_id), pg_snapshot_xmax(pg_current_snapshot())),
           CASE WHEN bool_and(started_at IS NOT NULL) IS NOT FALSE THEN least(now(), min(started_at)) END
    FROM open_transactions
    WHERE is_of_this_database IS NOT FALSE
""").format(open_transactions=_OPEN_TRANSACTIONS)

_OLDEST = sql.SQL("""
    WITH {open_transactions}
    SELECT xact_id::text, CASE WHEN pid IS NULL THEN 'prepared as ' || gid ELSE 'process ' || pid END, role, database,
           started_at, extract(epoch FROM clock_timestamp() - started_at)::float8
    FROM open_transactions
    WHERE is_of_this_database IS NOT FALSE AND coalesce(pid::text, gid) IS NOT NULL
    ORDER BY xact_id
    LIMIT 1
""").format(open_transactions=_OPEN_TRANSACTIONS)

# Rows of future transactions and of this database's open transactions are never copied. A copied row of such a
# transaction comes from another PostgreSQL server.
_FIRST_UNCOPIED = sql.SQL("""
    WITH {open_transactions}
    SELECT coalesce(min(xact_id), pg_snapshot_xmax(pg_current_snapshot()))
    FROM open_transactions
    WHERE is_of_this_database
""").format(open_transactions=_OPEN_TRANSACTIONS)

# Only another PostgreSQL server can have written rows of future transactions.
_FUTURE_ROW = """
    SELECT greatest(
        (
            SELECT xact_id
            FROM ai_usage_events
            WHERE xact_id >= pg_snapshot_xmax(pg_current_snapshot())
            ORDER BY xact_id DESC
            LIMIT 1
        ),
        (
            SELECT xact_id
            FROM removed_keys
            WHERE xact_id >= pg_snapshot_xmax(pg_current_snapshot())
            ORDER BY xact_id DESC
            LIMIT 1
        )
    )
"""

# If a transaction ends between the snapshot and reading the processes, its start time is unknown; a retry reads both
# again.
_MAX_ATTEMPTS = 3

_COUNT = sql.SQL("SELECT count(*) FROM {table} WHERE (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid)")

_COUNT_REMOVED_KEYS = """
    SELECT count(*)
    FROM removed_keys
    WHERE (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid)
      AND 'ai_usage_events_' || to_char(timestamp AT TIME ZONE 'UTC', 'YYYYMM') = %(table)s
"""


class SyncPosition(msgspec.Struct, frozen=True, order=True):
    """Position of a row in the copying order: by transaction, then by id."""

    xact_id: int
    id: UUID

    def values(self) -> dict[str, Any]:
        """Returns the position as values for the statement parameters `xact_id` and `id`."""
        return {"xact_id": str(self.xact_id), "id": self.id}


BEGINNING = SyncPosition(0, UUID(int=0))
"""Position before every row."""


class SyncState(msgspec.Struct, frozen=True):
    """State of the sync with one ClickHouse table.

    Attributes:
        cursor: every row up to this position and below the watermark is in ClickHouse.
        caught_up_at: everything committed before this moment is in ClickHouse; None until the first backfill is
            complete.
    """

    cursor: SyncPosition = BEGINNING
    caught_up_at: datetime | None = None


class Watermark(msgspec.Struct, frozen=True):
    """Upper bound below which rows can be copied without missing any.

    Attributes:
        xact_id: every transaction below has ended; its rows are visible or never will be.
        complete_until: everything committed before this moment is below the watermark; None if unknown.
    """

    xact_id: int
    complete_until: datetime | None


def read_state(connection: Connection, target: UUID) -> SyncState:
    """Returns the state of the sync with the table that has the id `target`."""
    row = connection.execute(_READ, [str(target)]).fetchone()
    return SyncState(SyncPosition(int(row[0]), row[1]), row[2]) if row else SyncState()


class OpenTransaction(msgspec.Struct, frozen=True):
    """An open transaction that has written rows and may still commit.

    Attributes:
        owner: `process 4711` or `prepared as name`.
        role: role of the transaction; None if the role no longer exists.
        started_at: None, like `seconds`, if this role may not read other roles' statistics.
        seconds: age of the transaction.
    """

    xact_id: str
    owner: str
    role: str | None
    database: str | None
    started_at: datetime | None
    seconds: float | None

    def __str__(self) -> str:
        since = "an unknown time (the role may not read it)"
        if self.started_at is not None and self.seconds is not None:
            since = f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC ({self.seconds:,.0f} s)"
        session = f"role {self.role}, database {self.database}"
        return f"transaction {self.xact_id} of {self.owner}, open since {since}, {session}"


def read_watermark(connection: Connection) -> Watermark:
    """Returns the current watermark.

    Args:
        connection: must have no open transaction, which would see outdated statistics of the processes.
    """
    _require_no_transaction(connection)
    for _ in range(_MAX_ATTEMPTS):
        xact_id, complete_until = _row(connection, _WATERMARK)
        if complete_until is not None:
            break
    return Watermark(int(xact_id), complete_until)


def oldest_transaction(connection: Connection) -> OpenTransaction | None:
    """Returns the oldest transaction that the watermark waits for, if any."""
    _require_no_transaction(connection)
    row = connection.execute(_OLDEST).fetchone()
    return OpenTransaction(*row) if row else None


def foreign_position(connection: Connection, cursor: SyncPosition) -> int | None:
    """Returns a transaction id of the cursor or a row that only another PostgreSQL server can have issued, if any.

    This server was then restored from the other one, and its own new transaction ids count as already copied.
    """
    first_uncopied = int(_row(connection, _FIRST_UNCOPIED)[0])
    newest = max(cursor.xact_id, int(_row(connection, _FUTURE_ROW)[0] or 0))
    return newest if newest >= first_uncopied else None


def count_unsynced(connection: Connection, table: str, cursor: SyncPosition) -> int:
    """Counts the rows of `table` (the events or one partition) beyond the cursor."""
    row = connection.execute(_COUNT.format(table=sql.Identifier(table)), cursor.values()).fetchone()
    return int(row[0]) if row else 0


def count_unsynced_removed_keys(connection: Connection, partition: str, cursor: SyncPosition) -> int:
    """Counts the removed keys of a partition's month beyond the cursor."""
    return int(_row(connection, _COUNT_REMOVED_KEYS, cursor.values() | {"table": partition})[0])


def _row(
    connection: Connection, statement: LiteralString | sql.Composed, values: dict[str, Any] | None = None
) -> tuple[Any, ...]:
    row = connection.execute(statement, values).fetchone()
    if row is None:
        raise AssertionError("an aggregate returns one row")
    return row


def _require_no_transaction(connection: Connection) -> None:
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise AssertionError("reading open transactions requires a connection without an open transaction")
