"""Reading from PostgreSQL: the rows that are to be copied, as the bytes that ClickHouse takes."""

from collections.abc import Generator, Iterator
from itertools import islice

import msgspec
from psycopg import sql

from functions.shared.postgres import Connection
from functions.shared.sync_state import Position, Watermark

COLUMNS = ("id", "timestamp", "event", "user_id", "namespace_path", "payload")

CHUNK_BYTES = 16 * 1024 * 1024
_ROWS_AT_ONCE = 500
_ID_LENGTH = 36

# The planner can't know that a range of the index is small, and would read and sort whole partitions.
PLANNER_OPTIONS = (
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c max_parallel_workers_per_gather=0 -c jit=off"
)

# What PostgreSQL writes as text, ClickHouse reads as TabSeparated; only the offset of a time would be foreign to it.
_ROW = sql.SQL("""
    {table}.id, {table}.timestamp AT TIME ZONE 'UTC', {table}.event, {table}.user_id,
    coalesce({table}.namespace_path, ''), {table}.payload
""")


def row_columns(table: str) -> sql.Composed:
    """What COPY selects of a table to write rows that ClickHouse takes."""
    return _ROW.format(table=sql.Identifier(table))


_COPY = sql.SQL("""
    COPY (
        SELECT {row}
        FROM ai_usage_events
        WHERE (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid) AND xact_id < %(watermark)s::xid8
        ORDER BY xact_id, id
    ) TO STDOUT
""").format(row=row_columns("ai_usage_events"))


class Chunk(msgspec.Struct, frozen=True):
    """Rows that are inserted together, one after the other in the order of the cursor.

    Attributes:
        data: the rows in ClickHouse's format TabSeparated.
        rows: how many they are.
        last: the last of them.
    """

    data: bytes
    rows: int
    last: bytes


def id_of(row: bytes) -> str:
    """The id of a row."""
    return row[:_ID_LENGTH].decode()


def timestamp_of(row: bytes) -> str:
    """The time of a row, in UTC, as PostgreSQL writes it."""
    return row.split(b"\t", 2)[1].decode()


def read_chunks(
    connection: Connection, after: Position, below: Watermark, chunk_bytes: int = CHUNK_BYTES
) -> Generator[Chunk]:
    """All rows after a position and below the watermark, in chunks of about `chunk_bytes`.

    Rows of one transaction with one id, in several months, are in one chunk: the cursor could not tell them apart.
    """
    values = after.values() | {"watermark": str(below.xact_id)}
    with connection.cursor().copy(_COPY, values) as copy:
        yield from _chunks_of(map(bytes, copy), chunk_bytes)


def _chunks_of(rows: Iterator[bytes], chunk_bytes: int) -> Iterator[Chunk]:
    first = next(rows, None)
    while first is not None:
        parts, last, count, size = [first], first, 1, len(first)
        while size < chunk_bytes and (taken := list(islice(rows, _ROWS_AT_ONCE))):
            parts.append(b"".join(taken))
            last, count, size = taken[-1], count + len(taken), size + len(parts[-1])
        while (first := next(rows, None)) is not None and id_of(first) == id_of(last):
            parts.append(first)
            last, count = first, count + 1
        yield Chunk(b"".join(parts), count, last)
