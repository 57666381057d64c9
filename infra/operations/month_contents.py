"""Reads the events of one month from both stores, in a form in which they can be compared.

Both stores add up the same hash of each event, for each minute. The hash is of all columns. ClickHouse writes a payload
as PostgreSQL does if it has no nested values and no unusual numbers. With other payloads the sums of a minute differ,
and its events are compared one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared.clickhouse import READ_SETTINGS
from functions.shared.partitions import partition_name
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition
from infra.operations.canonical_payload import canonical_payload

MAX_ROWS_AT_ONCE = 50_000
"""At most this many events are compared one by one at once, unless a single minute has more."""

_HASHES = 2**64

_COPIED = sql.SQL("(xact_id, id) <= (%(xact_id)s::xid8, %(id)s::uuid)")

_POSTGRES_SUMS = sql.SQL("""
    SELECT extract(epoch FROM minute)::bigint,
           count(*) FILTER (WHERE is_copied),
           coalesce(
               sum(('x' || encode(substring(hash FROM 1 FOR 8), 'hex'))::bit(64)::bigint) FILTER (WHERE is_copied), 0
           ),
           count(*) FILTER (WHERE NOT is_copied)
    FROM (
        SELECT {copied} AS is_copied,
               date_bin('1 minute', timestamp, '2000-01-01 00:00:00+00') AS minute,
               sha256(convert_to(concat_ws(
                   E'\\t', id, (extract(epoch FROM timestamp) * 1000000)::bigint, event, user_id,
                   coalesce(namespace_path, ''), coalesce(project_id, 0), payload
               ), 'UTF8')) AS hash
        FROM {table}
        WHERE timestamp >= %(start)s
        OFFSET 0
    ) AS hashes
    GROUP BY minute
""")

_CLICKHOUSE_SUMS = """
    SELECT intDiv(toUnixTimestamp64Micro(timestamp), 60000000) * 60 AS minute,
           count(),
           sum(reinterpretAsInt64(reverse(substring(SHA256(concat(
               toString(id), '\\t', toString(toUnixTimestamp64Micro(timestamp)), '\\t', toString(event), '\\t',
               toString(user_id), '\\t', namespace_path, '\\t', toString(project_id), '\\t{',
               arrayStringConcat(
                   arrayMap(
                       entry -> concat(toJSONString(entry.1), ': ', entry.2),
                       arraySort(
                           entry -> (length(entry.1), entry.1), JSONExtractKeysAndValuesRaw(toJSONString(payload))
                       )
                   ),
                   ', '
               ),
               '}'
           )), 1, 8))))
    FROM ai_usage_events FINAL
    PREWHERE timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
    GROUP BY minute
"""

_POSTGRES_ROWS = sql.SQL("""
    SELECT id, (extract(epoch FROM timestamp) * 1000000)::bigint, event, coalesce(namespace_path, ''),
           user_id, coalesce(project_id, 0), payload::text, {copied}
    FROM {table}
    WHERE timestamp >= %(first)s AND timestamp < %(last)s + interval '1 minute'
""")

_CLICKHOUSE_ROWS = """
    SELECT id, toUnixTimestamp64Micro(timestamp), event, namespace_path, user_id, project_id, toJSONString(payload)
    FROM ai_usage_events FINAL
    PREWHERE timestamp >= {first:DateTime64(6, 'UTC')}
        AND timestamp < {last:DateTime64(6, 'UTC')} + toIntervalMinute(1)
"""

# An id that waits may have any row in ClickHouse: its removed keys are copied later.
_WAITING_REMOVED_KEYS = """
    SELECT id
    FROM removed_keys
    WHERE timestamp >= %(first)s
      AND timestamp < %(last)s + interval '1 minute'
      AND (xact_id, id) > (%(xact_id)s::xid8, %(id)s::uuid)
"""

_REFUSED = """
    SELECT event_id
    FROM rejected_events
    WHERE event_id = ANY(%s) AND source = 'sync' AND replayed_at IS NULL
"""

_SETTINGS = READ_SETTINGS | {
    "output_format_json_escape_forward_slashes": 0,
    "output_format_json_quote_64bit_integers": 0,
}

type Sums = dict[int, tuple[int, int]]
"""Number of events and sum of their hashes, by the minute's first second."""

type Key = tuple[UUID, int, int, str]
"""Key of an event in ClickHouse: id, timestamp in microseconds, event and namespace path."""

type Rest = tuple[int, int, str]
"""User, project and payload of an event."""


class Contents(msgspec.Struct):
    """The events of some minutes in both stores.

    Attributes:
        postgres: events that were copied.
        clickhouse: events that ClickHouse shows.
        waiting: ids of events that the sync has yet to copy or remove.
    """

    postgres: dict[Key, Rest]
    clickhouse: dict[Key, Rest]
    waiting: set[UUID]


@dataclass(frozen=True, slots=True)
class MonthContents:
    """The events of one month that PostgreSQL has.

    Attributes:
        start: first day to compare.
        end: day after the last one.
    """

    connection: Connection
    client: Client
    month: date
    start: date
    end: date

    def postgres_sums(self, cursor: SyncPosition) -> tuple[Sums, int]:
        """Returns the sums of the events up to the cursor in PostgreSQL, and the number of those after the cursor."""
        statement = _POSTGRES_SUMS.format(table=self._table, copied=_COPIED)
        values = cursor.values() | {"start": _midnight(self.start)}
        rows = self.connection.execute(statement, values).fetchall()
        return _sums([row[:3] for row in rows if row[1]]), sum(row[3] for row in rows)

    def clickhouse_sums(self) -> Sums:
        """Returns the sums in ClickHouse."""
        values = {"start": _midnight(self.start), "end": _midnight(self.end)}
        return _sums(list(self.client.query(_CLICKHOUSE_SUMS, values, _SETTINGS).result_rows))

    def read(self, first: int, last: int, cursor: SyncPosition) -> Contents:
        """Reads the events from the first to the last minute. The sync must not run meanwhile."""
        moments = {"first": datetime.fromtimestamp(first, UTC), "last": datetime.fromtimestamp(last, UTC)}
        found = self.client.query(_CLICKHOUSE_ROWS, moments, _SETTINGS).result_rows
        clickhouse = {(row[0], row[1], row[2], row[3]): (row[4], row[5], row[6]) for row in found}
        values = moments | cursor.values()
        statement = _POSTGRES_ROWS.format(table=self._table, copied=_COPIED)
        with self.connection.transaction():  # both statements see the same moment
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            rows = self.connection.execute(statement, values).fetchall()
            waiting = {removed_id for (removed_id,) in self.connection.execute(_WAITING_REMOVED_KEYS, values)}
        waiting |= {row[0] for row in rows if not row[7]}
        postgres = {(row[0], row[1], row[2], row[3]): (row[4], row[5], row[6]) for row in rows if row[7]}
        return Contents(postgres, clickhouse, waiting)

    def refused(self, ids: list[UUID]) -> set[UUID]:
        """Returns those of the ids whose rows ClickHouse refused."""
        return {event_id for (event_id,) in self.connection.execute(_REFUSED, [ids])}

    @property
    def _table(self) -> sql.Identifier:
        # The partition by its name: if the retention drops it meanwhile, the statement fails.
        return sql.Identifier(partition_name(self.month))


def differing_minutes(postgres: Sums, clickhouse: Sums) -> Iterator[tuple[int, int]]:
    """Yields ranges of minutes, each with its first and last one, that hold all minutes whose sums differ.

    A range has at most `MAX_ROWS_AT_ONCE` events, unless it is a single minute.
    """
    first, last, rows = None, None, 0
    for minute in sorted(postgres.keys() | clickhouse.keys()):
        here, there = postgres.get(minute, (0, 0)), clickhouse.get(minute, (0, 0))
        rows += max(here[0], there[0])
        if first is not None and last is not None and rows > MAX_ROWS_AT_ONCE:
            yield first, last
            first, rows = None, max(here[0], there[0])
        if here != there:
            if first is None:
                first, rows = minute, max(here[0], there[0])
            last = minute
    if first is not None and last is not None:
        yield first, last


def are_same(one: Rest, other: Rest) -> bool:
    """Whether both stores have the same user, project and payload."""
    return one == other or (one[:2] == other[:2] and canonical_payload(one[2]) == canonical_payload(other[2]))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _sums(rows: list[Any]) -> Sums:
    return {int(minute): (int(count), int(hashes) % _HASHES) for minute, count, hashes in rows}
