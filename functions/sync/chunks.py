"""Reads what has to be copied from PostgreSQL, as bytes in ClickHouse's TabSeparated format.

The stream holds rows of `ai_usage_events` and removed keys, in the order of (xact_id, id). A removed key becomes a row
that is deleted. Where the stream comes to the first or last removed key of an event, it holds the event's state as a
whole: all removed keys that no row has now, and all present rows. ClickHouse thus replaces the old rows of a moved
event by the new one with one insert.

A copied row has a version, which is the epoch and then the transaction in 15 digits. Of several rows with one key,
ClickHouse shows the one of the highest version, and of equal versions the one that was inserted last.
"""

from collections.abc import Buffer, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from operator import itemgetter
from threading import Event
from uuid import UUID

from psycopg import sql

from functions.shared import event_columns
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition, Watermark

CHUNK_BYTES = 16 * 1024 * 1024
_ROWS_AT_ONCE = 500
_ID_LENGTH = 36
_day_of = itemgetter(slice(_ID_LENGTH + 1, _ID_LENGTH + 11))

TRANSACTION_DIGITS = 15

EPOCH_FACTOR: int = 10**TRANSACTION_DIGITS
"""A version is the epoch times this, plus the number of the transaction."""

# The planner does not know that a range of the index is small, and would read and sort whole partitions, or hash them.
PLANNER_OPTIONS = (
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c enable_hashjoin=off -c enable_mergejoin=off "
    "-c enable_material=off -c max_parallel_workers_per_gather=0 -c jit=off"
)

COLUMNS = ("id", "timestamp", "version", "is_deleted", *event_columns.NAMES[2:])
"""Columns of a copied row, in its order: the cursor is read from the first ones, and the payload is the last."""

# ClickHouse reads PostgreSQL's text format as TabSeparated, except for a timestamp's offset; its columns have no NULL.
_PLAIN = sql.SQL("{column}")
_CONVERTED = {
    "timestamp": sql.SQL("{column} AT TIME ZONE 'UTC'"),
    "namespace_path": sql.SQL("coalesce({column}, '')"),
    "project_id": sql.SQL("coalesce({column}, 0)"),
    "version": sql.SQL("{epoch}::bigint * {epoch_factor} + {xact_id}::text::bigint"),
}

# Values of a removed key in the columns that are not a part of the key. The user is 0 if it is unknown, or negative,
# which ClickHouse would refuse.
_REMOVED_VALUES = {
    "user_id": sql.SQL("greatest(user_id, 0)"),
    "project_id": sql.SQL("NULL"),
    "payload": sql.SQL("'{{}}'").format(),
}


def row_columns(table: str, is_deleted: sql.Composable) -> sql.Composed:
    """Returns the columns that COPY selects from a table with `xact_id`, in the order and format of a copied row.

    The statement has the parameter `epoch`.
    """
    parts = {
        "epoch": sql.SQL("%(epoch)s"),
        "xact_id": sql.Identifier(table, "xact_id"),
        "epoch_factor": sql.Literal(EPOCH_FACTOR),
    }
    return sql.SQL(", ").join(
        is_deleted
        if name == "is_deleted"
        else _CONVERTED.get(name, _PLAIN).format(column=sql.Identifier(table, name), **parts)
        for name in COLUMNS
    )


def _removed_value(name: str) -> sql.Composable:
    return _REMOVED_VALUES.get(name) or sql.Identifier(name)


def _state_value(name: str) -> sql.Composable:
    # The planner sorts nothing if it knows that the rows come in the order of these ids.
    return sql.Identifier("removed" if name == "id" else "state", name)


_RANGE = sql.SQL("(xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid) AND xact_id < %(watermark)s::xid8")

_COPY_ROWS = sql.SQL("""
    COPY (
        SELECT {row}
        FROM ai_usage_events
        WHERE {range}
        ORDER BY xact_id, id
    ) TO STDOUT
""").format(row=row_columns("ai_usage_events", sql.SQL("0")), range=_RANGE)

# A removed key that a row has now is left out, because it would hide that row: a row may move back, and transactions
# need not commit in the order of their numbers. A row that is inserted or changed later has a higher version, because
# its transaction is not below the watermark.
_COPY_ROWS_AND_REMOVED_KEYS = sql.SQL("""
    COPY (
        SELECT {row}
        FROM (
            (
                SELECT xact_id, 0 AS is_deleted, {columns}
                FROM ai_usage_events
                WHERE {range}
                ORDER BY xact_id, id
            )
            UNION ALL
            (
                SELECT removed.xact_id, state.is_deleted, {state_columns}
                FROM removed_keys AS removed
                CROSS JOIN LATERAL (
                    SELECT 0 AS is_deleted, {columns}
                    FROM ai_usage_events
                    WHERE ai_usage_events.id = removed.id
                      AND ai_usage_events.xact_id <> removed.xact_id  -- else the row is in the stream here
                    UNION ALL
                    SELECT 1, {removed}
                    FROM removed_keys AS gone
                    WHERE gone.id = removed.id
                      AND NOT EXISTS (
                          SELECT
                          FROM ai_usage_events AS present
                          WHERE present.id = gone.id
                            AND present.timestamp = gone.timestamp
                            AND present.event = gone.event
                            AND coalesce(present.namespace_path, '') = coalesce(gone.namespace_path, '')
                          OFFSET 0  -- keeps the planner from reading all months
                      )
                ) AS state
                WHERE (removed.xact_id, removed.id) > (%(xact_id)s::xid8, %(id)s::uuid)
                  AND removed.xact_id < %(watermark)s::xid8
                  AND (
                      NOT EXISTS (
                          SELECT
                          FROM removed_keys AS earlier
                          WHERE earlier.id = removed.id
                            AND (earlier.xact_id, earlier.id) > (%(xact_id)s::xid8, %(id)s::uuid)
                            AND earlier.xact_id < removed.xact_id
                      )
                      OR NOT EXISTS (
                          SELECT
                          FROM removed_keys AS later
                          WHERE later.id = removed.id
                            AND later.xact_id > removed.xact_id
                            AND later.xact_id < %(watermark)s::xid8
                      )
                  )
                ORDER BY removed.xact_id, removed.id
            )
        ) AS stream
        ORDER BY xact_id, id
    ) TO STDOUT
""").format(
    row=row_columns("stream", sql.SQL("stream.is_deleted")),
    range=_RANGE,
    columns=sql.SQL(event_columns.ALL),
    removed=sql.SQL(", ").join(map(_removed_value, event_columns.NAMES)),
    state_columns=sql.SQL(", ").join(map(_state_value, event_columns.NAMES)),
)

_HAS_REMOVED_KEYS = sql.SQL("SELECT EXISTS (SELECT FROM removed_keys WHERE {range})").format(range=_RANGE)


class RowStream:
    """The rows that COPY returns, read one by one as bytes.

    Attributes:
        may_have_removed_keys: whether some of the rows may be removed keys.
    """

    def __init__(self, rows: Iterable[Buffer], *, may_have_removed_keys: bool = False) -> None:
        self.may_have_removed_keys = may_have_removed_keys
        self._rows = map(bytes, rows)
        self._next = next(self._rows, None)

    @property
    def has_more(self) -> bool:
        """Whether any row is left."""
        return self._next is not None

    def take(self, count: int) -> list[bytes]:
        """Returns the next `count` rows and all that follow with the id of the last one, or fewer at the end."""
        if self._next is None:
            return []
        rows = [self._next, *islice(self._rows, count - 1)]
        last_id = rows[-1][:_ID_LENGTH]
        while (row := next(self._rows, None)) is not None and row.startswith(last_id):
            rows.append(row)
        self._next = row
        return rows


class InsertAbandoned(Exception):
    """The insert that reads a chunk must fail, because something that had to precede its end failed."""


class Chunk:
    """Rows for one insert, in the order of the cursor; iterating over the chunk reads them.

    Rows of one transaction with the same id stay in one chunk, in several months or with removed keys among them: the
    cursor can't tell them apart.

    Attributes:
        rows: number of rows read, without removed keys.
        removed_keys: number of removed keys read.
        bytes: total size of both.
        last: last row read.
        days: days of the rows read, like `2026-11-20`.
        was_read: set when all rows were read or reading was given up.
    """

    def __init__(self, stream: RowStream, chunk_bytes: int) -> None:
        self._stream = stream
        self._chunk_bytes = chunk_bytes
        self.rows = 0
        self.removed_keys = 0
        self.bytes = 0
        self.last = b""
        self.days: set[bytes] = set()
        self.was_read = Event()
        self._may_end = Event()
        self._is_abandoned = False

    def __iter__(self) -> Iterator[bytes]:
        """Yields a few rows at a time, at least one row in total, in ClickHouse's format TabSeparated.

        Rows with one id are yielded together.
        """
        yield self._count_rows(self._stream.take(1))
        while self.bytes < self._chunk_bytes and (taken := self._stream.take(_ROWS_AT_ONCE)):
            yield self._count_rows(taken)
        self.was_read.set()

    def until_released(self) -> Iterator[bytes]:
        """Yields the same, but ends only after `release`. ClickHouse stores nothing before the end of an insert.

        Raises:
            InsertAbandoned: `abandon` was called instead.
        """
        yield from self
        self._may_end.wait()
        if self._is_abandoned:
            raise InsertAbandoned

    def release(self) -> None:
        """Lets the insert end."""
        self._may_end.set()

    def abandon(self) -> None:
        """Makes the insert fail, unless it was released before."""
        self._is_abandoned = not self._may_end.is_set()
        self._may_end.set()

    def give_up_reading(self, _: object) -> None:
        """Sets `was_read` when the insert that read the chunk ended, possibly early."""
        self.was_read.set()

    def _count_rows(self, rows: list[bytes]) -> bytes:
        joined = b"".join(rows)
        removed_keys = sum(map(is_removed_key, rows)) if self._stream.may_have_removed_keys else 0
        self.rows += len(rows) - removed_keys
        self.removed_keys += removed_keys
        self.bytes += len(joined)
        self.days.update(map(_day_of, rows))
        self.last = rows[-1]
        return joined

    @property
    def may_have_removed_keys(self) -> bool:
        """Whether some of the rows may be removed keys, or have had one that a row has again."""
        return self._stream.may_have_removed_keys


class _CopyAbandoned(Exception):
    """Makes psycopg cancel a COPY instead of waiting for its remaining rows."""


@contextmanager
def copied_rows(connection: Connection, epoch: int, after: SyncPosition, below: Watermark) -> Iterator[RowStream]:
    """Streams all rows and removed keys after a position and below the watermark.

    Cancels the COPY if the block leaves rows unread.
    """
    values = after.values() | {"watermark": str(below.xact_id)}
    found = connection.execute(_HAS_REMOVED_KEYS, values).fetchone()
    has_removed_keys = found == (True,)
    statement = _COPY_ROWS_AND_REMOVED_KEYS if has_removed_keys else _COPY_ROWS
    with suppress(_CopyAbandoned), connection.cursor().copy(statement, values | {"epoch": str(epoch)}) as copy:
        stream = RowStream(copy, may_have_removed_keys=has_removed_keys)
        yield stream
        if stream.has_more:
            raise _CopyAbandoned


def id_of(row: bytes) -> str:
    """Returns the id of a row."""
    return row[:_ID_LENGTH].decode()


def timestamp_of(row: bytes) -> str:
    """Returns the timestamp of a row in UTC, in PostgreSQL's format."""
    return row.split(b"\t", 2)[1].decode()


def position_of(row: bytes) -> SyncPosition:
    """Returns the position of a row in the stream."""
    version = row.split(b"\t", 3)[2]
    return SyncPosition(int(version[-TRANSACTION_DIGITS:]), UUID(id_of(row)))


def is_removed_key(row: bytes) -> bool:
    """Whether a row marks its key as removed."""
    return row.split(b"\t", 4)[3] == b"1"


def as_removed_key(row: bytes) -> bytes:
    """Returns a row that marks the key of this row as removed."""
    values = dict(zip(COLUMNS, row.rstrip(b"\n").split(b"\t"), strict=True))
    user_id = values["user_id"] if values["user_id"].isdigit() else b"0"  # a negative one may be why it was refused
    values |= {"is_deleted": b"1", "user_id": user_id, "project_id": b"0", "payload": b"{}"}
    return b"\t".join(values.values()) + b"\n"
