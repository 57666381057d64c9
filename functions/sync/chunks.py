"""Reads the rows to copy from PostgreSQL, as bytes in ClickHouse's TabSeparated format."""

from collections.abc import Buffer, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Event

from psycopg import sql

from functions.shared import event_columns
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition, Watermark

CHUNK_BYTES = 16 * 1024 * 1024
_ROWS_AT_ONCE = 500
_ID_LENGTH = 36

# The planner does not know that a range of the index is small, and would read and sort whole partitions.
PLANNER_OPTIONS = (
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c max_parallel_workers_per_gather=0 -c jit=off"
)

# ClickHouse reads PostgreSQL's text format as TabSeparated, except for a timestamp's offset; its columns have no NULL.
_PLAIN = sql.SQL("{column}")
_CONVERTED = {
    "timestamp": sql.SQL("{column} AT TIME ZONE 'UTC'"),
    "namespace_path": sql.SQL("coalesce({column}, '')"),
    "project_id": sql.SQL("coalesce({column}, 0)"),
}


def row_columns(table: str) -> sql.Composed:
    """Returns the columns that COPY selects from a table, in ClickHouse's order and format."""
    return sql.SQL(", ").join(
        _CONVERTED.get(name, _PLAIN).format(column=sql.Identifier(table, name)) for name in event_columns.NAMES
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
    """The rows that COPY returns, read one by one as bytes."""

    def __init__(self, rows: Iterable[Buffer]) -> None:
        self._rows = map(bytes, rows)
        self._next = next(self._rows, None)

    @property
    def has_more(self) -> bool:
        """Whether any row is left."""
        return self._next is not None

    def take(self, count: int) -> list[bytes]:
        """Returns the next `count` rows, or fewer at the end."""
        if self._next is None:
            return []
        rows = [self._next, *islice(self._rows, count - 1)]
        self._next = next(self._rows, None)
        return rows

    def take_while_id(self, row_id: str) -> list[bytes]:
        """Returns the next rows that have this id."""
        rows = []
        while self._next is not None and id_of(self._next) == row_id:
            rows += self.take(1)
        return rows


class Chunk:
    """Rows for one insert, in the order of the cursor; iterating over the chunk reads them.

    Rows of one transaction with the same id, in several months, stay in one chunk: the cursor can't tell them apart.

    Attributes:
        rows: number of rows read.
        bytes: total size of these rows.
        last: last row read.
        was_read: set when all rows were read or reading was given up.
    """

    def __init__(self, stream: RowStream, chunk_bytes: int) -> None:
        self._stream = stream
        self._chunk_bytes = chunk_bytes
        self.rows = 0
        self.bytes = 0
        self.last = b""
        self.was_read = Event()

    def __iter__(self) -> Iterator[bytes]:
        """Yields a few rows at a time, at least one row in total, in ClickHouse's format TabSeparated."""
        yield self._count_rows(self._stream.take(1))
        while self.bytes < self._chunk_bytes and (taken := self._stream.take(_ROWS_AT_ONCE)):
            yield self._count_rows(taken)
        if same := self._stream.take_while_id(id_of(self.last)):
            yield self._count_rows(same)
        self.was_read.set()

    def give_up_reading(self, _: object) -> None:
        """Sets `was_read` when the insert that read the chunk ended, possibly early."""
        self.was_read.set()

    def _count_rows(self, rows: list[bytes]) -> bytes:
        joined = b"".join(rows)
        self.rows += len(rows)
        self.bytes += len(joined)
        self.last = rows[-1]
        return joined


class _CopyAbandoned(Exception):
    """Makes psycopg cancel a COPY instead of waiting for its remaining rows."""


@contextmanager
def copied_rows(connection: Connection, after: SyncPosition, below: Watermark) -> Iterator[RowStream]:
    """Streams all rows after a position and below the watermark; cancels the COPY if the block leaves rows unread."""
    values = after.values() | {"watermark": str(below.xact_id)}
    with suppress(_CopyAbandoned), connection.cursor().copy(_COPY, values) as copy:
        stream = RowStream(copy)
        yield stream
        if stream.has_more:
            raise _CopyAbandoned


def id_of(row: bytes) -> str:
    """Returns the id of a row."""
    return row[:_ID_LENGTH].decode()


def timestamp_of(row: bytes) -> str:
    """Returns the timestamp of a row in UTC, in PostgreSQL's format."""
    return row.split(b"\t", 2)[1].decode()
