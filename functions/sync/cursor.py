"""Keeps the sync cursor, the epoch and the removed keys that wait for the sync, in PostgreSQL."""

from collections.abc import Iterable
from typing import NoReturn
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared.clickhouse import ttl_months
from functions.shared.partitions import partitions
from functions.shared.postgres import Connection
from functions.shared.rollup_days import forget_rollups
from functions.shared.sync_state import BEGINNING, SyncPosition, Watermark, foreign_position, read_state
from functions.sync.chunks import EPOCH_FACTOR
from functions.sync.error import SyncError
from functions.sync.kept_directory import lacks_changes
from functions.sync.marks import PUT_BACK, START_ANEW, mark, remember_server, replacement, told

_HAS_ROWS = "SELECT EXISTS (SELECT * FROM ai_usage_events)"

# An event that ClickHouse accepted and keeps. Without limit, ClickHouse keeps events for ever.
_WAS_COPIED = """
    SELECT EXISTS (
        SELECT
        FROM ai_usage_events AS stored
        WHERE (xact_id, id) <= (%(xact_id)s::xid8, %(id)s::uuid)
          AND timestamp >= coalesce(now() - make_interval(months => %(months)s::int), '-infinity')
          AND NOT EXISTS (SELECT FROM rejected_events WHERE event_id = stored.id AND source = 'sync')
    )
"""

_FORGET_TARGET = "DELETE FROM sync_state WHERE target = %s"

_EPOCH = "SELECT epoch FROM sync_state WHERE target = %s"

# Counts all rows, also those that were replaced or deleted.
_NEWEST_VERSION = "SELECT max(version) FROM ai_usage_events"

# A refill translates the transaction numbers of rows of earlier epochs, also when another one follows it.
_REFILLED_EPOCHS = "SELECT epoch FROM refills"

_BEGIN_EPOCH = """
    INSERT INTO sync_state (target, epoch, xact_id, id, updated_at)
    VALUES (%(target)s, %(epoch)s, %(xact_id)s, %(id)s, now())
"""

_MOVE = """
    UPDATE sync_state
    SET xact_id = %(xact_id)s, id = %(id)s, updated_at = now()
    WHERE target = %(target)s AND epoch = %(epoch)s
"""

# Other tables in ClickHouse may still need the removed keys; their cursors are in `sync_state` too.
_DELETE_REMOVED_KEYS = """
    DELETE FROM removed_keys
    WHERE (xact_id, id) <= (SELECT xact_id, id FROM sync_state ORDER BY xact_id, id LIMIT 1)
"""

_CAUGHT_UP = """
    UPDATE sync_state
    SET updated_at = now(),
        caught_up_at = coalesce(greatest(caught_up_at, %(caught_up_at)s), now())
    WHERE target = %(target)s AND epoch = %(epoch)s
"""

# Greater than any transaction id, so that every later run detects that PostgreSQL was restored.
_MARK_RESTORED = """
    UPDATE sync_state
    SET xact_id = '18446744073709551615', id = gen_random_uuid(), updated_at = now(), caught_up_at = NULL
    WHERE target = %s
"""

_REWRITE = sql.SQL("UPDATE {table} SET xact_id = pg_current_xact_id() WHERE xact_id >= pg_current_xact_id()")

_FORGET = "DELETE FROM sync_state"


class Cursor(msgspec.Struct, frozen=True):
    """The sync cursor of one table in ClickHouse. Only the holder of the sync's lock may use it.

    Attributes:
        epoch: number of complete copies that the table was given, this one included.
    """

    connection: Connection
    target: UUID
    epoch: int

    @classmethod
    def of_table(cls, connection: Connection, client: Client, target: UUID) -> "Cursor":
        """Returns the cursor; begins a new epoch if this PostgreSQL knows no cursor of the table.

        Whatever the table already has is of earlier epochs, also if it was copied from another PostgreSQL. It may have
        been emptied since.

        Raises:
            SyncError: PostgreSQL was put back to a moment before the table was made.
            ClickHouseError: ClickHouse did not answer or returned an error.
        """
        row = connection.execute(_EPOCH, [str(target)]).fetchone()
        if row is not None:
            return cls(connection, target, row[0])
        if lacks_changes(connection, client):
            raise SyncError(PUT_BACK)
        refilled = connection.execute(_REFILLED_EPOCHS).fetchall()
        epoch = next_epoch(client, target, (known for (known,) in refilled))
        connection.execute(_BEGIN_EPOCH, {"target": str(target), "epoch": epoch} | BEGINNING.values())
        return cls(connection, target, epoch)

    def read(self) -> SyncPosition:
        """Returns the position of the cursor.

        Raises:
            SyncError: the cursor or a row comes from another PostgreSQL server. Such a cursor lies beyond this server's
                new rows, which would never be copied.
        """
        position = read_state(self.connection, self.target).cursor
        if foreign_position(self.connection, position) is not None:
            self._stop(f"PostgreSQL was restored from a server with newer transactions: run {START_ANEW}")
        return position

    def require_same_postgresql(self, client: Client) -> None:
        """Checks that PostgreSQL is the server that the cursor is of, and was not put back to an earlier moment.

        Raises:
            SyncError: it is not, or it was. Its new rows may lie before the cursor, or may have versions of rows that
                ClickHouse has from later moments.
            ClickHouseError: ClickHouse did not answer or returned an error.
        """
        reason = replacement(self.connection, client, self.target)
        if reason is not None:
            self._stop(reason)
        remember_server(self.connection, self.target)

    def mark(self, client: Client) -> None:
        """Tells ClickHouse that rows are about to come; see `functions.sync.marks`."""
        mark(self.connection, client, self.target, self.epoch)

    def _stop(self, reason: str) -> NoReturn:
        self.connection.execute(_MARK_RESTORED, [str(self.target)])
        raise SyncError(reason)

    def move(self, position: SyncPosition, *, past_removed_keys: bool) -> None:
        """Moves the cursor, and deletes the removed keys that it has passed; call it within a transaction.

        Raises:
            SyncError: another process has reset the sync.
        """
        values = {"target": str(self.target), "epoch": self.epoch} | position.values()
        if self.connection.execute(_MOVE, values).rowcount != 1:
            raise SyncError("the sync was reset while it ran; the next run starts from the first row")
        if past_removed_keys:
            self.connection.execute(_DELETE_REMOVED_KEYS)

    def record_caught_up(self, watermark: Watermark) -> None:
        """Records that everything below the watermark is in ClickHouse."""
        values = {"target": str(self.target), "epoch": self.epoch, "caught_up_at": watermark.complete_until}
        self.connection.execute(_CAUGHT_UP, values)


def next_epoch(client: Client, target: UUID, known: Iterable[int]) -> int:
    """Returns an epoch after those of all rows that the table has or was about to get.

    Args:
        known: other epochs that must be earlier.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    newest = int(client.query(_NEWEST_VERSION).result_rows[0][0])
    return max(newest // EPOCH_FACTOR, told(client, target)[0], *known) + 1


def has_lost_everything(connection: Connection, client: Client, target: UUID) -> bool:
    """Whether ClickHouse's table is empty although events were copied to it that it should still have.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    position = read_state(connection, target).cursor
    if position == BEGINNING or client.query(_HAS_ROWS).result_rows[0][0]:
        return False
    return connection.execute(_WAS_COPIED, position.values() | {"months": ttl_months(client)}).fetchone() == (True,)


def forget_cursor(connection: Connection, target: UUID) -> None:
    """Makes the run start from the first row, for a table in ClickHouse that is empty."""
    connection.execute(_FORGET_TARGET, [str(target)])
    forget_rollups(connection)


def forget_cursors(connection: Connection) -> int:
    """Makes the next run start from the first row in a new epoch.

    Returns:
        Number of rows that had a transaction id in this server's future; they got a new one.
    """
    connection.execute(_REWRITE.format(table=sql.Identifier("removed_keys")))
    statements = [_REWRITE.format(table=sql.Identifier(name)) for name in partitions(connection)]
    rewritten = sum(connection.execute(statement).rowcount for statement in statements)
    connection.execute(_FORGET)
    forget_rollups(connection)
    return rewritten
