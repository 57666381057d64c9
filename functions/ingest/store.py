"""Writing to PostgreSQL: the events of a batch, and those that were rejected."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from uuid import UUID

import msgspec
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from functions.shared.grant import Grant
from functions.shared.postgres import Connection

_COPY = """
    COPY ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    FROM STDIN (FORMAT BINARY)
"""

_MAKE_STAGING = """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_events (
        id             uuid,
        timestamp      timestamptz,
        event          smallint,
        user_id        bigint,
        namespace_path text,
        payload        jsonb
    ) ON COMMIT DELETE ROWS
"""

_COPY_TO_STAGING = """
    COPY staged_events (id, timestamp, event, user_id, namespace_path, payload)
    FROM STDIN (FORMAT BINARY)
"""

_INSERT_STAGED = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
    SELECT id, timestamp, event, user_id, namespace_path, payload
    FROM staged_events
    ORDER BY date_trunc('month', timestamp, 'UTC'), id
    ON CONFLICT DO NOTHING
"""

# Of two events with one id whose times the server assigned, in two months, the second must see the first.
_LOCK_ASSIGNED_TIMES = "SELECT pg_advisory_xact_lock(4197003)"

_STORED_IDS = "SELECT id FROM ai_usage_events WHERE id = ANY(%s)"

# What sent an event again may not have marked its row yet; what the next statement reads is then as it says so.
_AWAIT_REPLAYS = "SELECT FROM rejected_events WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"

# What a row says is kept before it says something else. A message that is delivered again changes nothing: it counts
# no further than the row.
_INSERT_REJECTED = """
    WITH former AS (
        INSERT INTO rejection_history (rejected_id, attempt, code, message, replayed_at)
        SELECT id, attempts, code, message, replayed_at
        FROM rejected_events
        WHERE id = %(id)s AND attempts < %(attempts)s
        ON CONFLICT DO NOTHING
    )
    INSERT INTO rejected_events AS known (id, received_at, source, code, message, body, sender_grant, attempts)
    VALUES (
        %(id)s, %(received_at)s, %(source)s, %(code)s, %(message)s, %(body)s, %(sender_grant)s, %(attempts)s
    )
    ON CONFLICT (id) DO UPDATE SET
        code = excluded.code,
        message = excluded.message,
        body = excluded.body,
        attempts = excluded.attempts,
        replayed_at = NULL
    WHERE known.attempts < excluded.attempts
"""

# PostgreSQL's binary COPY: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_FIXED_FIELDS = struct.Struct("!h i16s iq ih iq i")  # number of fields; length and value of four; length of the fifth
_PAYLOAD_HEAD = struct.Struct("!iB")
_JSONB_VERSION = 1
_NULL = -1
_ID_BITS = 128
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Row(msgspec.Struct, frozen=True):
    """A row of `ai_usage_events`, and what the way it is written depends on.

    Attributes:
        payload: JSON.
        place: see `place_in_order`.
        time_is_assigned: whether an event that has an id of its own got its time from the server.
    """

    id: UUID
    timestamp: datetime
    event: int
    user_id: int
    namespace_path: str | None
    payload: bytes
    place: int
    time_is_assigned: bool = False


class RejectedRow(msgspec.Struct, frozen=True):
    """A row of `rejected_events`.

    Attributes:
        id: the same whenever the same message is read, so that a redelivery adds nothing.
        source: `https`, `sqs` or `sync`.
        body: the event as it came; one that lacked an id with the id and the time that it was given.
        attempts: how often it was rejected, this time included.
    """

    id: UUID
    received_at: datetime
    source: str
    code: str
    message: str
    body: str
    sender_grant: Grant | None
    attempts: int = 1


def place_in_order(timestamp: datetime, identifier: UUID) -> int:
    """Where an event stands in the order in which all batches write, so that none deadlock: by month and id."""
    return (timestamp.year * 12 + timestamp.month) << _ID_BITS | identifier.int


def write_events(slices: Iterable[Sequence[Row]], connection: Connection, *, times_are_assigned: bool) -> int:
    """Stores the rows whose ids are not stored yet. Belongs within a transaction.

    Args:
        slices: of the rows in their order: each is written while the next one is made. They may be asked for twice.
        times_are_assigned: whether that is so of some; the rows are then in the order of their arrival.

    Returns:
        How many were stored.
    """
    if times_are_assigned:
        unstored = _without_stored([row for rows in slices for row in rows], connection)
        slices = [sorted(unstored, key=attrgetter("place"))]
    try:
        with connection.transaction():
            return _copy(_COPY, slices, connection)
    except UniqueViolation:
        connection.execute(_MAKE_STAGING)
        _copy(_COPY_TO_STAGING, slices, connection)
        return connection.execute(_INSERT_STAGED).rowcount


def write_rejected(rows: Sequence[RejectedRow], connection: Connection) -> None:
    """Stores why events were rejected; one that was replayed keeps its row. Belongs within a transaction."""
    in_order = sorted(rows, key=attrgetter("id"))  # so that concurrent batches don't deadlock
    values = [msgspec.structs.asdict(row) | {"sender_grant": _jsonb(row.sender_grant)} for row in in_order]
    replayed = [row.id for row in in_order if row.attempts > 1]
    if replayed:
        connection.execute(_AWAIT_REPLAYS, [replayed])
    if values:
        connection.cursor().executemany(_INSERT_REJECTED, values)


def _jsonb(grant: Grant | None) -> Jsonb | None:
    return Jsonb(msgspec.to_builtins(grant)) if grant else None


def _without_stored(rows: list[Row], connection: Connection) -> list[Row]:
    """`rows` less those whose time was assigned and whose id is known, in whichever month."""
    assigned = [row.id for row in rows if row.time_is_assigned]
    if not assigned:
        return rows
    connection.execute(_LOCK_ASSIGNED_TIMES)
    known = {identifier for (identifier,) in connection.execute(_STORED_IDS, [assigned])}
    known.update(row.id for row in rows if not row.time_is_assigned)
    kept = []
    for row in rows:
        if not row.time_is_assigned:
            kept.append(row)
        elif row.id not in known:
            known.add(row.id)
            kept.append(row)
    return kept


def _in_order(slices: Iterable[Sequence[Row]]) -> Iterator[list[Row]]:
    """The first row of each id and month; a row that a transformation moved to an earlier month comes at the end."""
    latest = 0
    moved = []
    for rows in slices:
        kept = []
        for row in rows:
            if row.place > latest:
                latest = row.place
                kept.append(row)
            elif row.place < latest:
                moved.append(row)
        yield kept
    if moved:
        yield from _in_order([sorted(moved, key=attrgetter("place"))])


def _copy(statement: str, slices: Iterable[Sequence[Row]], connection: Connection) -> int:
    cursor = connection.cursor()
    with cursor.copy(statement) as copy:
        copy.write(_HEADER)
        for rows in _in_order(slices):
            copy.write(_packed(rows))
        copy.write(_TRAILER)
    return cursor.rowcount


def _packed(rows: Iterable[Row]) -> bytes:
    parts: list[bytes] = []
    for row in rows:
        path = row.namespace_path
        encoded_path = path.encode() if path else b""
        parts += (
            _FIXED_FIELDS.pack(
                6,
                16,
                row.id.bytes,
                8,
                (row.timestamp - _EPOCH) // _MICROSECOND,
                2,
                row.event,
                8,
                row.user_id,
                len(encoded_path) if path else _NULL,
            ),
            encoded_path,
            _PAYLOAD_HEAD.pack(len(row.payload) + 1, _JSONB_VERSION),
            row.payload,
        )
    return b"".join(parts)
