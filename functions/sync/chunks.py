"""Reading from PostgreSQL: the rows that are to be copied, as the bytes that ClickHouse takes."""

from collections.abc import Buffer, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Event

from psycopg import sql

from functions.shared import event_columns
from functions.shared.postgres import Connection
from functions.shared.sync_state import Position, Watermark

CHUNK_BYTES = 16 * 1024 * 1024
_ROWS_AT_ONCE = 500
_ID_LENGTH = 36

# The planner can't know that a range of the index is small, and would read and sort whole partitions.
PLANNER_OPTIONS = (
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c max_parallel_workers_per_gather=0 -c jit=off"
)

# What PostgreSQL writes as text, ClickHouse reads as TabSeparated; only the offset of a time would be foreign to it,
# and its columns have no NULL.
_PLAIN = sql.SQL("{column}")
_OTHERS = {
    "timestamp": sql.SQL("{column} AT TIME ZONE 'UTC'"),
    "namespace_path": sql.SQL("coalesce({column}, '')"),
}


def row_columns(table: str) -> sql.Composed:
    """What COPY selects of a table to write rows that ClickHouse takes."""
    return sql.SQL(", ").join(
        _OTHERS.get(name, _PLAIN).format(column=sql.Identifier(table, name)) for name in event_columns.NAMES
    )


_COPY = sql.SQL("""
    COPY (
        SELECT {row}
        FROM ai_usage_events
        WHERE (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid) AND xact_id < %(watermark)s::xid8
        ORDER BY xact_id, id
    ) TO STDOUT
""").format(row=row_columns("ai_usage_events"))


class RowStream:
    """The rows that COPY writes, one after the other, as bytes."""

    def __init__(self, rows: Iterable[Buffer]) -> None:
        self._rows = map(bytes, rows)
        self._next = next(self._rows, None)

    @property
    def has_more(self) -> bool:
        """Whether there is a row that was not taken."""
        return self._next is not None

    def take(self, count: int) -> list[bytes]:
        """The next rows, `count` of them or all there are."""
        if self._next is None:
            return []
        rows = [self._next, *islice(self._rows, count - 1)]
        self._next = next(self._rows, None)
        return rows

    def take_while_id(self, row_id: str) -> list[bytes]:
        """The next rows as long as they have this id."""
        rows = []
        while self._next is not None and id_of(self._next) == row_id:
            rows += self.take(1)
        return rows


class Chunk:
    """Rows that are inserted together, in the order of the cursor; they are read when they are iterated over.

    Rows of one transaction with one id, in several months, are in one chunk: the cursor could not tell them apart.

    Attributes:
        rows: how many were read.
        bytes: how long they are.
        last: the last of them.
        was_read: set once all were read, or nobody reads them any more.
    """

    def __init__(self, stream: RowStream, chunk_bytes: int) -> None:
        self._stream = stream
        self._chunk_bytes = chunk_bytes
        self.rows = 0
        self.bytes = 0
        self.last = b""
        self.was_read = Event()

    def __iter__(self) -> Iterator[bytes]:
        """Some rows at a time, in ClickHouse's format TabSeparated; at least one."""
        yield self._counted(self._stream.take(1))
        while self.bytes < self._chunk_bytes and (taken := self._stream.take(_ROWS_AT_ONCE)):
            yield self._counted(taken)
        if same := self._stream.take_while_id(id_of(self.last)):
            yield self._counted(same)
        self.was_read.set()

    def give_up_reading(self, _: object) -> None:
        """Sets `was_read`, whoever read the chunk being done with it."""
        self.was_read.set()

    def _counted(self, rows: list[bytes]) -> bytes:
        joined = b"".join(rows)
        self.rows += len(rows)
        self.bytes += len(joined)
        self.last = rows[-1]
        return joined


class _Left(Exception):
    """Makes psycopg cancel a COPY, whose rows it would otherwise wait for for ever."""


@contextmanager
def copied_rows(connection: Connection, after: Position, below: Watermark) -> Iterator[RowStream]:
    """All rows after a position and below the watermark; those that are not taken within the block are left."""
    values = after.values() | {"watermark": str(below.xact_id)}
    with suppress(_Left), connection.cursor().copy(_COPY, values) as copy:
        stream = RowStream(copy)
        yield stream
        if stream.has_more:
            raise _Left


def id_of(row: bytes) -> str:
    """The id of a row."""
    return row[:_ID_LENGTH].decode()


def timestamp_of(row: bytes) -> str:
    """The time of a row, in UTC, as PostgreSQL writes it."""
    return row.split(b"\t", 2)[1].decode()
