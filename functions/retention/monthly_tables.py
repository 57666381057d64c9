"""The monthly tables: partitions of `ai_usage_events`, and detached ones."""

from datetime import date
from typing import Literal
from uuid import UUID

import msgspec
from psycopg import sql

from functions.shared.partitions import make_partitions, partition_name
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition, count_unsynced, count_unsynced_removed_keys, read_state

_TABLES = """
    SELECT relname,
           CASE
               WHEN inhparent IS NULL THEN 'detached'
               WHEN inhdetachpending THEN 'detaching'
               ELSE 'attached'
           END
    FROM pg_class
    LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
    WHERE relkind = 'r'
      AND relname ~ '^ai_usage_events_[12][0-9]{3}(0[1-9]|1[0-2])$'
      AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ai_usage_events'::regclass)
      AND (inhparent IS NULL OR inhparent = 'ai_usage_events'::regclass)
    ORDER BY relname
"""

_FINALIZE = sql.SQL("ALTER TABLE ai_usage_events DETACH PARTITION {table} FINALIZE")

# Without a sync, ClickHouse never had the rows.
_RECORD_EVENT_TYPES = sql.SQL("""
    UPDATE event_types
    SET only_in_clickhouse = true
    WHERE NOT only_in_clickhouse
      AND EXISTS (SELECT FROM sync_state)
      AND id IN (SELECT DISTINCT event FROM {table})
""")

_TAKE_NUMBER = "SELECT pg_current_xact_id()"

# The moves that leave behind what a detached table has at their former paths. A move that is recorded after this
# transaction has its number takes the rows along by itself.
_MOVES_THAT_MISSED = sql.SQL("""
    WITH places AS MATERIALIZED (
        SELECT namespace_path, project_id, min(xact_id) AS first_xact
        FROM {table}
        WHERE namespace_path IS NOT NULL
        GROUP BY namespace_path, project_id
    )
    SELECT DISTINCT number
    FROM namespace_moves AS move
    JOIN places ON first_xact < before_xact
        AND CASE kind
            WHEN 'project' THEN places.project_id = move.id AND namespace_path = old_path
            ELSE starts_with(namespace_path, old_path)
        END
""")

_REPEAT_MOVES = """
    UPDATE namespace_moves
    SET opened = opened + 1, late_xacts = late_xacts || pg_current_xact_id(), done_at = NULL
    WHERE number = ANY(%s)
"""

_SYNC_AGAIN = sql.SQL("UPDATE {table} SET xact_id = pg_current_xact_id()")

# All readers and writers wait for this lock, so the server ends a transaction whose process died or froze. The settings
# contain no SELECT, because its snapshot would be older than the lock.
_LOCK_EVENTS = """
    SET LOCAL statement_timeout = '10s';
    SET LOCAL idle_in_transaction_session_timeout = '2s';
    LOCK TABLE ONLY ai_usage_events IN ACCESS EXCLUSIVE MODE
"""

_LOCK = sql.SQL("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE NOWAIT")

_DROP = sql.SQL("DROP TABLE {table}")

# No transaction records removed keys of a month that has no table.
_DELETE_REMOVED_KEYS = """
    DELETE FROM removed_keys
    WHERE to_regclass('ai_usage_events_' || to_char(timestamp AT TIME ZONE 'UTC', 'YYYYMM')) IS NULL
      AND (%(xact_id)s::xid8 IS NULL OR (xact_id, id) <= (%(xact_id)s::xid8, %(id)s::uuid))
"""


class MonthlyTable(msgspec.Struct, frozen=True):
    """The table of one month.

    Attributes:
        state: `detaching` means that someone began `DETACH PARTITION … CONCURRENTLY` and did not finish it.
    """

    month: date
    state: Literal["attached", "detaching", "detached"]

    @property
    def name(self) -> str:
        """Returns the name of the table in PostgreSQL."""
        return partition_name(self.month)


def monthly_tables(connection: Connection) -> list[MonthlyTable]:
    """Returns all monthly tables, oldest first. Tables with other names are not managed here."""
    return [
        MonthlyTable(date(int(name[-6:-2]), int(name[-2:]), 1), state) for name, state in connection.execute(_TABLES)
    ]


def finalize_detach(connection: Connection, table: str) -> None:
    """Finishes the detach of a partition that is `detaching`.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction may still use the table as a partition.
    """
    connection.execute(_FINALIZE.format(table=sql.Identifier(table)))


def attach(connection: Connection, table: MonthlyTable) -> None:
    """Attaches a detached table again, and makes the sync copy all its rows.

    The sync moves its cursor past the rows of a detached table without seeing them. This transaction rewrites the rows,
    so that they come after the cursor. The lock is held until the commit; otherwise a sync could pass this
    transaction before its connection learns of the new partition. Events that namespaces left behind in the table while
    it was detached will move after them.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction that uses `ai_usage_events` did not end in time.
    """
    with connection.transaction():
        make_partitions(connection, [table.month])
        identifier = sql.Identifier(table.name)
        connection.execute(_TAKE_NUMBER)
        missed = [number for (number,) in connection.execute(_MOVES_THAT_MISSED.format(table=identifier))]
        connection.execute(_SYNC_AGAIN.format(table=identifier))
        connection.execute(_LOCK_EVENTS)
        connection.execute(_REPEAT_MOVES, [missed])  # after that lock: a consumer that holds a move's row holds it too


def record_event_types(connection: Connection, table: str) -> None:
    """Records the event types whose rows only ClickHouse has after the table is dropped.

    A deployment can then tell whether definitions that it would remove still have stored rows.
    """
    connection.execute(_RECORD_EVENT_TYPES.format(table=sql.Identifier(table)))


def drop(connection: Connection, table: str) -> None:
    """Drops a monthly table, attached or detached, with all its rows.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction that uses `ai_usage_events` did not end in time.
    """
    with connection.transaction():
        _lock(connection, table)
        connection.execute(_DROP.format(table=sql.Identifier(table)))


def drop_if_synced(connection: Connection, table: str, target: UUID | None, cursor: SyncPosition) -> int:
    """Drops a monthly table unless a row was added or changed after `cursor`.

    Args:
        target: id of the table in ClickHouse; None if ClickHouse has no table.
        cursor: read before the comparison with ClickHouse. Transactions that were open then come after the cursor.

    Returns:
        The number of rows and removed keys after the cursor, or after an earlier cursor set by a reset. 0 if the table
        was dropped.

    Raises:
        psycopg.errors.LockNotAvailable: a transaction that uses `ai_usage_events` did not end in time.
    """
    with connection.transaction():
        _lock(connection, table)
        if target:
            cursor = min(cursor, read_state(connection, target).cursor)
        unsynced = count_waiting(connection, table, cursor)
        if not unsynced:
            connection.execute(_DROP.format(table=sql.Identifier(table)))
    return unsynced


def count_waiting(connection: Connection, table: str, cursor: SyncPosition) -> int:
    """Counts the rows and the removed keys of a monthly table that the sync has yet to copy."""
    return count_unsynced(connection, table, cursor) + count_unsynced_removed_keys(connection, table, cursor)


def delete_removed_keys(connection: Connection, cursor: SyncPosition | None) -> int:
    """Deletes removed keys of months that have no table, and returns their number.

    Args:
        cursor: deletes only what was copied; None if there is no ClickHouse.
    """
    values = cursor.values() if cursor else {"xact_id": None, "id": None}
    return connection.execute(_DELETE_REMOVED_KEYS, values).rowcount


def _lock(connection: Connection, table: str) -> None:
    """Locks all events and this table until the transaction ends.

    After it holds the events, it waits for no other lock, so no one waits for long, and no deadlock is possible.
    """
    connection.execute(_LOCK_EVENTS)
    connection.execute(_LOCK.format(table=sql.Identifier(table)))
