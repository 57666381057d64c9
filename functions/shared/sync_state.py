"""How far ClickHouse has come behind PostgreSQL: what the sync writes down, and what others ask of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.pq import TransactionStatus

from functions.shared.postgres import Connection

_READ = "SELECT xact_id, id, caught_up_at FROM sync_state WHERE target = %s"

# A transaction that is open may yet commit rows; all below the oldest such transaction are there to be seen. One of
# another database of the server can't, and is not waited for, if it is certain whose it is: the process that has its
# number was connected to that database before it began, and stays so. That holds only for processes that are looked at
# after the snapshot was taken, in a statement of its own (what a transaction has once read of them stays the same in
# it). A prepared transaction is no process's, and waited for wherever it is.
# Since when others' transactions are open is shown only to roles that may read all statistics.
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

# Rows are copied neither of transactions that PostgreSQL has not come to yet nor of those of this database that are
# open. What was copied and is one of them was another PostgreSQL's.
_FIRST_UNCOPIED = sql.SQL("""
    WITH {open_transactions}
    SELECT coalesce(min(xact_id), pg_snapshot_xmax(pg_current_snapshot()))
    FROM open_transactions
    WHERE is_of_this_database
""").format(open_transactions=_OPEN_TRANSACTIONS)

# A transaction that PostgreSQL has not come to yet can't have written a row, unless in another PostgreSQL.
_FUTURE_ROW = """
    SELECT xact_id
    FROM ai_usage_events
    WHERE xact_id >= pg_snapshot_xmax(pg_current_snapshot())
    ORDER BY xact_id DESC
    LIMIT 1
"""

# A transaction that ends between the snapshot and the look at the processes leaves open since when it was there.
_MAX_ATTEMPTS = 3

_COUNT = sql.SQL("SELECT count(*) FROM {table} WHERE (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid)")


class SyncPosition(msgspec.Struct, frozen=True, order=True):
    """Where a row is in the order in which rows are copied: by transaction, then by id."""

    xact_id: int
    id: UUID

    def values(self) -> dict[str, Any]:
        """The position as a statement's values `xact_id` and `id`."""
        return {"xact_id": str(self.xact_id), "id": self.id}


BEGINNING = SyncPosition(0, UUID(int=0))
"""Before every row."""


class SyncState(msgspec.Struct, frozen=True):
    """What is known of one table in ClickHouse.

    Attributes:
        cursor: every row up to here, and below the watermark, is there.
        caught_up_at: everything that was committed before then is there; None until the first backfill has caught up.
    """

    cursor: SyncPosition = BEGINNING
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
    return SyncState(SyncPosition(int(row[0]), row[1]), row[2]) if row else SyncState()


class OpenTransaction(msgspec.Struct, frozen=True):
    """A transaction that has written, and may yet commit.

    Attributes:
        owner: `process 4711`, or `prepared as name`.
        role: whose it is; None where that role is gone.
        started_at: None, as is its age, where the role may not read the statistics of others.
        seconds: for how long it has been open.
    """

    xact_id: str
    owner: str
    role: str | None
    database: str | None
    started_at: datetime | None
    seconds: float | None

    def __str__(self) -> str:
        since = "when it is not ours to know"
        if self.started_at is not None and self.seconds is not None:
            since = f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC ({self.seconds:,.0f} s)"
        session = f"role {self.role}, database {self.database}"
        return f"transaction {self.xact_id} of {self.owner}, open since {since}, {session}"


def read_watermark(connection: Connection) -> Watermark:
    """The watermark of this moment.

    Args:
        connection: without an open transaction, which would keep an older look at the server's processes.
    """
    _require_no_transaction(connection)
    for _ in range(_MAX_ATTEMPTS):
        xact_id, complete_until = _row(connection, _WATERMARK)
        if complete_until is not None:
            break
    return Watermark(int(xact_id), complete_until)


def oldest_transaction(connection: Connection) -> OpenTransaction | None:
    """The oldest transaction that the watermark waits for, if one is open."""
    _require_no_transaction(connection)
    row = connection.execute(_OLDEST).fetchone()
    return OpenTransaction(*row) if row else None


def foreign_position(connection: Connection, cursor: SyncPosition) -> int | None:
    """The transaction of the cursor, or of a row, that only another PostgreSQL can have come to, if there is one.

    This one was then restored from that one, and its own transactions have numbers that count as copied long ago.
    """
    first_uncopied = int(_row(connection, _FIRST_UNCOPIED)[0])
    row = connection.execute(_FUTURE_ROW).fetchone()
    newest = max(cursor.xact_id, int(row[0]) if row else 0)
    return newest if newest >= first_uncopied else None


def count_unsynced(connection: Connection, table: str, cursor: SyncPosition) -> int:
    """How many rows of `table`, the events or a partition of theirs, are beyond the cursor."""
    row = connection.execute(_COUNT.format(table=sql.Identifier(table)), cursor.values()).fetchone()
    return int(row[0]) if row else 0


def _row(connection: Connection, statement: sql.Composed) -> tuple[Any, ...]:
    row = connection.execute(statement).fetchone()
    if row is None:
        raise AssertionError("an aggregate answers with one row")
    return row


def _require_no_transaction(connection: Connection) -> None:
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise AssertionError("who has open transactions is looked at outside of one")
