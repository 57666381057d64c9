"""The tables of the months: the partitions of `ai_usage_events`, and those that were detached but not dropped."""

from datetime import date
from typing import Literal

import msgspec
from psycopg import sql

from functions.retention.bookmark import Bookmark, parse_bookmark
from functions.shared.partitions import partition_name
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition, count_unsynced

_TABLES = """
    SELECT relname,
           CASE
               WHEN inhparent IS NULL THEN 'detached'
               WHEN inhdetachpending THEN 'detaching'
               ELSE 'attached'
           END,
           obj_description(pg_class.oid, 'pg_class')
    FROM pg_class
    LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
    WHERE relkind = 'r'
      AND relname ~ '^ai_usage_events_[12][0-9]{3}(0[1-9]|1[0-2])$'
      AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ai_usage_events'::regclass)
      AND (inhparent IS NULL OR inhparent = 'ai_usage_events'::regclass)
    ORDER BY relname
"""

_DETACH = sql.SQL("ALTER TABLE ai_usage_events DETACH PARTITION {table} CONCURRENTLY")

_FINALIZE = sql.SQL("ALTER TABLE ai_usage_events DETACH PARTITION {table} FINALIZE")

_LOCK = sql.SQL("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

_DROP = sql.SQL("DROP TABLE {table}")


class MonthlyTable(msgspec.Struct, frozen=True):
    """The table of one month.

    Attributes:
        state: `detaching` is a partition that new transactions no longer see, while older ones may still write to it.
        bookmark: what was noted when it was to be detached.
    """

    month: date
    state: Literal["attached", "detaching", "detached"]
    bookmark: Bookmark | None

    @property
    def name(self) -> str:
        """Its name in PostgreSQL."""
        return partition_name(self.month)


def monthly_tables(connection: Connection) -> list[MonthlyTable]:
    """All that there are, oldest first; tables and partitions with other names are somebody else's."""
    return [
        MonthlyTable(date(int(name[-6:-2]), int(name[-2:]), 1), state, parse_bookmark(comment))
        for name, state, comment in connection.execute(_TABLES)
    ]


def detach(connection: Connection, table: str) -> None:
    """Makes the partition a table of its own, once all transactions that may use it as a partition have ended.

    Raises:
        psycopg.errors.LockNotAvailable: one goes on. The partition may be left `detaching`.
        psycopg.errors.ObjectNotInPrerequisiteState: another partition is `detaching`; there can be only one.
    """
    connection.execute(_DETACH.format(table=sql.Identifier(table)))


def finalize_detach(connection: Connection, table: str) -> None:
    """Ends what `detach` began.

    Raises:
        psycopg.errors.LockNotAvailable: some transaction may still use the table as a partition.
    """
    connection.execute(_FINALIZE.format(table=sql.Identifier(table)))


def drop(connection: Connection, table: str) -> None:
    """Drops a detached table."""
    connection.execute(_DROP.format(table=sql.Identifier(table)))


def drop_if_synced(connection: Connection, table: str, cursor: SyncPosition) -> int:
    """Drops a detached table that holds no row beyond the cursor; returns how many there are."""
    with connection.transaction():
        connection.execute(_LOCK.format(table=sql.Identifier(table)))
        unsynced = count_unsynced(connection, table, cursor)
        if not unsynced:
            drop(connection, table)
    return unsynced
