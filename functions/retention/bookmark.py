"""Up to which row a table was in ClickHouse when it was to be detached.

The sync does not see the rows of a table that is detached, or is being detached, and moves its cursor past them. What
the cursor was before is therefore noted, as the table's comment: rows beyond it, by transactions that were open then,
may be missing in ClickHouse, wherever the cursor is later.
"""

from uuid import UUID

import msgspec
from psycopg import sql

from functions.shared.postgres import Connection
from functions.shared.sync_state import BEGINNING, SyncPosition, read_state

_WRITE = sql.SQL("COMMENT ON TABLE {table} IS {bookmark}")

_REMOVE = sql.SQL("COMMENT ON TABLE {table} IS NULL")

_REWRITE = sql.SQL("""
    UPDATE {table}
    SET xact_id = pg_current_xact_id()
    WHERE (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid)
""")


class Bookmark(msgspec.Struct, frozen=True):
    """Says that all rows of a table up to `cursor` are in ClickHouse.

    Attributes:
        target: the table in ClickHouse; None where there was none.
    """

    target: UUID | None = None
    cursor: SyncPosition = BEGINNING


def parse_bookmark(comment: str | None) -> Bookmark | None:
    """The bookmark that a table's comment is, if it is one."""
    try:
        return msgspec.json.decode(comment or "", type=Bookmark)
    except msgspec.DecodeError:
        return None


def current_bookmark(connection: Connection, target: UUID | None) -> Bookmark:
    """What is true of every partition now."""
    return Bookmark(target, read_state(connection, target).cursor) if target else Bookmark()


def write_bookmark(connection: Connection, table: str, bookmark: Bookmark) -> None:
    """Notes it on the table."""
    literal = sql.Literal(msgspec.json.encode(bookmark).decode())
    connection.execute(_WRITE.format(table=sql.Identifier(table), bookmark=literal))


def sync_again(connection: Connection, table: str, after: SyncPosition) -> None:
    """Puts the rows beyond `after` before the sync once more, as if they came now, and removes the bookmark.

    The table must have been attached in an earlier transaction: the watermark passes a transaction a moment before
    others learn of the partition it attached.
    """
    with connection.transaction():
        connection.execute(_REWRITE.format(table=sql.Identifier(table)), after.values())
        connection.execute(_REMOVE.format(table=sql.Identifier(table)))
