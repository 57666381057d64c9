"""Writes the events and rejected events of a batch to PostgreSQL."""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter, lt
from typing import NamedTuple
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from functions.ingest.postgres.known_ids import KnownIds, identity_of, ids_locked, without_stored
from functions.ingest.postgres.row import EVERY_MONTH, NO_OTHER_MONTH, Row
from functions.ingest.postgres.usage import BatchUsage
from functions.shared import event_columns
from functions.shared.grant import Grant
from functions.shared.postgres import Connection

_COPY = sql.SQL("COPY ai_usage_events ({columns}) FROM STDIN (FORMAT BINARY)").format(
    columns=sql.SQL(event_columns.ALL)
)

# Waits for transactions that replay these rows and have not marked them yet, so the next statement sees the marks.
_AWAIT_REPLAYS = "SELECT FROM rejected_events WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"

# Copies a row to the history before overwriting it. A redelivered message changes nothing, because its number of
# attempts is not above that of the row.
_INSERT_REJECTED = """
    WITH former AS (
        INSERT INTO rejection_history (rejected_id, attempt, code, message, replayed_at)
        SELECT id, attempts, code, message, replayed_at
        FROM rejected_events
        WHERE id = %(id)s AND attempts < %(attempts)s
        ON CONFLICT DO NOTHING
    )
    INSERT INTO rejected_events AS known (
        id, received_at, source, code, message, body, sender_grant, attempts, event_id, request_id
    )
    VALUES (
        %(id)s, %(received_at)s, %(source)s, %(code)s, %(message)s, %(body)s, %(sender_grant)s, %(attempts)s,
        %(event_id)s, %(request_id)s
    )
    ON CONFLICT (id) DO UPDATE SET
        code = excluded.code,
        message = excluded.message,
        body = excluded.body,
        attempts = excluded.attempts,
        event_id = coalesce(known.event_id, excluded.event_id),
        request_id = coalesce(known.request_id, excluded.request_id),
        replayed_at = NULL
    WHERE known.attempts < excluded.attempts
"""

# Format of binary COPY: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_FIELDS = len(event_columns.COLUMNS)
_FIXED_FIELDS = struct.Struct("!h i16s iq ih iq i")  # field count; length and value of four fields; length of the fifth
_PROJECT_AND_PAYLOAD_HEAD = struct.Struct("!iq iB")  # length and value of the project; head of the payload
_PAYLOAD_HEAD = struct.Struct("!i iB")  # without a project
_JSONB_VERSION = 1
_NULL = -1
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_WRITE_ORDER = attrgetter("write_order")
_MICROSECOND = timedelta(microseconds=1)


class Written(NamedTuple):
    """The result of writing rows.

    Attributes:
        stored: number of rows that were stored.
        conflicts: rows whose id belongs to an event with another name or user.
        usage: what the rows add to the usage of their tenants.
    """

    stored: int
    conflicts: list[Row]
    usage: BatchUsage


class _LookUpNeeded(Exception):
    """The id of a row may be stored in another month."""


class RejectedRow(msgspec.Struct, frozen=True):
    """A row of `rejected_events`.

    Attributes:
        id: derived from the message, so a redelivery adds no row.
        source: `https`, `sqs` or `sync`.
        body: the event as received; the assigned id and time are added to an event without an id.
        attempts: number of rejections, including this one.
        event_id: id under which the event is stored, if known.
        request_id: id of the request or message that the logs name. A replayed event keeps the id of its first one.
    """

    id: UUID
    received_at: datetime
    source: str
    code: str
    message: str
    body: str
    sender_grant: Grant | None
    attempts: int = 1
    event_id: UUID | None = None
    request_id: str | None = None


def write_events(slices: Iterable[Sequence[Row]], connection: Connection, *, looks_up: bool) -> Written:
    """Stores the rows whose ids are not stored yet. Call it within a transaction.

    Args:
        slices: slices of rows in write order. Each is written while the next one is made. May be iterated twice.
        looks_up: whether ids may be stored in other months; the rows must then be in the order of receipt. If a later
                transformation makes a lookup necessary all the same, the rows are only written again.
    """
    is_stored, usage = False, BatchUsage()
    if not looks_up:
        try:
            written = _write_new(_without_look_up(slices), connection, usage)
        except _LookUpNeeded:
            pass
        except UniqueViolation:
            is_stored = True
        else:
            if written.stored != sum(map(len, slices)):
                usage.count_offered(slices)
            return written
    rows = [row for some in slices for row in some]
    usage.count_offered([rows])
    looked_up = [row for row in rows if row.other_month != NO_OTHER_MONTH]
    if is_stored and not looked_up:
        return _write_unstored(rows, connection, usage)
    with ids_locked(looked_up, connection):
        unknown, conflicts = _without_known(rows, connection)
        unknown.sort(key=attrgetter("write_order"))
        try:
            written = _write_new([unknown], connection, usage)
        except UniqueViolation:
            written = _write_unstored(unknown, connection, usage)
    return Written(written.stored, conflicts + written.conflicts, usage)


def write_rejected(rows: Sequence[RejectedRow], connection: Connection) -> None:
    """Stores rejected events; a replayed event keeps its row. Call it within a transaction."""
    in_order = sorted(rows, key=attrgetter("id"))  # prevents deadlocks of concurrent batches
    values = [msgspec.structs.asdict(row) | {"sender_grant": _jsonb(row.sender_grant)} for row in in_order]
    replayed = [row.id for row in in_order if row.attempts > 1]
    if replayed:
        connection.execute(_AWAIT_REPLAYS, [replayed])
    if values:
        connection.cursor().executemany(_INSERT_REJECTED, values)


def _jsonb(grant: Grant | None) -> Jsonb | None:
    return Jsonb(msgspec.to_builtins(grant)) if grant else None


def _without_look_up(slices: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
    for rows in slices:
        if any(map(attrgetter("other_month"), rows)):
            raise _LookUpNeeded
        yield rows


def _write_new(slices: Iterable[Sequence[Row]], connection: Connection, usage: BatchUsage) -> Written:
    """Stores rows that are not stored yet, and counts them as stored.

    Raises:
        UniqueViolation: a row is stored already. No row was stored.
    """
    conflicts: list[Row] = []
    usage.restart()
    with connection.transaction():
        number = _copy(_in_order(slices, conflicts), connection, usage)
    return Written(number, conflicts, usage)


def _write_unstored(rows: Sequence[Row], connection: Connection, usage: BatchUsage) -> Written:
    """Stores only the rows that are not stored yet, and counts them as stored.

    Another transaction may store some of them after the look-up. The copy waits for that transaction, and the next
    look-up sees what it stored.

    Raises:
        UniqueViolation: PostgreSQL refuses a row whose id is not stored, because of an index that others made.
    """
    unknown, conflicts = without_stored(rows, connection)
    while True:
        try:
            written = _write_new([unknown], connection, usage)
        except UniqueViolation:
            unknown_before = unknown
            unknown, others = without_stored(unknown_before, connection)
            if len(unknown) == len(unknown_before):
                raise
            conflicts += others
        else:
            return Written(written.stored, conflicts + written.conflicts, usage)


def _without_known(rows: Sequence[Row], connection: Connection) -> tuple[list[Row], list[Row]]:
    """Splits off rows whose id is stored in another month.

    Of several rows with one id, those with a timestamp of their own take precedence over those with an assigned one.

    Returns:
        The rows to write, and the rows whose id belongs to another event.
    """
    looked_up = [row for row in rows if row.other_month != NO_OTHER_MONTH]
    kept = [row for row in rows if row.other_month == NO_OTHER_MONTH]
    known = KnownIds()
    known.look_up(looked_up, connection)
    for row in kept:
        known.add(row)
    conflicts = []
    for row in sorted(looked_up, key=_is_of_any_month):
        identities = known.elsewhere(row)
        if not identities:
            known.add(row)
            kept.append(row)
        elif identity_of(row) not in identities:
            conflicts.append(row)
    return kept, conflicts


def _is_of_any_month(row: Row) -> bool:
    return row.other_month == EVERY_MONTH


def _in_order(slices: Iterable[Sequence[Row]], conflicts: list[Row]) -> Iterator[Sequence[Row]]:
    """Yields the first row of each id and month; rows that a transformation moved to an earlier month come last.

    Args:
        conflicts: receives the rows with a repeated id but another event name or user.
    """
    latest = 0
    first: Row | None = None
    moved = []
    for rows in slices:
        orders = list(map(_WRITE_ORDER, rows))
        if rows and orders[0] > latest and all(map(lt, orders, orders[1:])):  # most slices
            latest, first = orders[-1], rows[-1]
            yield rows
            continue
        kept = []
        for row in rows:
            if row.write_order > latest:
                latest, first = row.write_order, row
                kept.append(row)
            elif row.write_order < latest:
                moved.append(row)
            elif first and identity_of(row) != identity_of(first):
                conflicts.append(row)
        yield kept
    if moved:
        yield from _in_order([sorted(moved, key=attrgetter("write_order"))], conflicts)


def _copy(slices: Iterable[Sequence[Row]], connection: Connection, usage: BatchUsage) -> int:
    cursor = connection.cursor()
    with cursor.copy(_COPY) as copy:
        copy.write(_HEADER)
        for rows in slices:
            copy.write(_packed(rows, usage.sizes))
            usage.add_stored(rows)
            connection.pgconn.flush()  # what the socket did not take before, so that PostgreSQL always has work
        copy.write(_TRAILER)
    return cursor.rowcount


def _packed(rows: Iterable[Row], sizes: defaultdict[str | None, int]) -> bytes:
    """Encodes the rows for binary COPY, with values in column order.

    Args:
        sizes: gains the bytes of the payloads, by path.
    """
    parts: list[bytes] = []
    for row in rows:
        path, payload_bytes = row.namespace_path, len(row.payload)
        sizes[path] += payload_bytes
        encoded_path = path.encode() if path else b""
        parts += (
            _FIXED_FIELDS.pack(
                _FIELDS,
                16,
                row.id.int.to_bytes(16),
                8,
                (row.timestamp - _EPOCH) // _MICROSECOND,
                2,
                row.event,
                8,
                row.user_id,
                len(encoded_path) if path else _NULL,
            ),
            encoded_path,
            _PAYLOAD_HEAD.pack(_NULL, payload_bytes + 1, _JSONB_VERSION)
            if row.project_id is None
            else _PROJECT_AND_PAYLOAD_HEAD.pack(8, row.project_id, payload_bytes + 1, _JSONB_VERSION),
            row.payload,
        )
    return b"".join(parts)
