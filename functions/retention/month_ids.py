"""What both stores say of the ids of one month.

Both make the same hash of an id. The hash chooses one of 4,096 buckets. The hashes of a bucket are added up, in
whatever order they are read.
"""

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from clickhouse_connect.driver.client import Client
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition

MAX_NAMED_IDS = 10

_HASHES = 2**64

# The OFFSET keeps PostgreSQL from making the hash anew wherever it is used.
_POSTGRES_SUMS = sql.SQL("""
    SELECT (get_byte(hash, 8) * 256 + get_byte(hash, 9)) %% 4096 AS bucket,
           count(*),
           sum(('x' || encode(substring(hash FROM 1 FOR 8), 'hex'))::bit(64)::bigint)
    FROM (SELECT sha256(uuid_send(id)) AS hash FROM {table} WHERE timestamp >= %(start)s OFFSET 0) AS hashes
    GROUP BY bucket
""")

# A row may be there twice until its parts are merged: FINAL reads it once.
_CLICKHOUSE_SUMS = """
    SELECT reinterpretAsUInt16(reverse(substring(hash, 9, 2))) % 4096 AS bucket,
           count(),
           sum(reinterpretAsInt64(reverse(substring(hash, 1, 8))))
    FROM (
        SELECT SHA256(UUIDToNum(id)) AS hash
        FROM ai_usage_events FINAL
        WHERE timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
    )
    GROUP BY bucket
    FORMAT TabSeparated
"""

_CLICKHOUSE_IDS = """
    SELECT id
    FROM ai_usage_events FINAL
    WHERE timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
      AND has({buckets:Array(UInt16)}, reinterpretAsUInt16(reverse(substring(SHA256(UUIDToNum(id)), 9, 2))) % 4096)
    FORMAT TabSeparated
"""

# What ClickHouse refused is not missing, as long as it waits in `rejected_events` to be replayed.
_IS_MISSING = sql.SQL("""
    stored.timestamp >= %(start)s
    AND (stored.xact_id, stored.id) <= (%(xact_id)s::xid8, %(id)s::uuid)
    AND (get_byte(sha256(uuid_send(stored.id)), 8) * 256 + get_byte(sha256(uuid_send(stored.id)), 9)) %% 4096
        = ANY (%(buckets)s)
    AND NOT EXISTS (
        SELECT
        FROM unnest(string_to_array(%(present)s, %(newline)s)::uuid[]) AS present (id)
        WHERE present.id = stored.id
    )
    AND NOT EXISTS (
        SELECT
        FROM rejected_events
        WHERE source = 'sync'
          AND replayed_at IS NULL
          AND (body::jsonb ->> 'id')::uuid = stored.id
          AND (body::jsonb ->> 'timestamp')::timestamptz = stored.timestamp
    )
""")

_FIND = sql.SQL("""
    SELECT count(*), coalesce((array_agg(id::text ORDER BY id))[:{named}], ARRAY[]::text[])
    FROM {table} AS stored
    WHERE {is_missing}
""")

_PUT_BACK = sql.SQL("""
    UPDATE {table} AS stored
    SET xact_id = pg_current_xact_id()
    WHERE {is_missing}
""")

# The planner can't know how many ids are compared, and might compare each with each.
_LIMITS = "SELECT set_config('statement_timeout', %s, true), set_config('enable_nestloop', 'off', true)"

type Sums = dict[int, tuple[int, int]]
"""Of each bucket that is not empty: how many ids it has, and the sum of their hashes."""


class RowsInUse(Exception):
    """Rows can't be changed at the moment."""


@dataclass(frozen=True, slots=True)
class MonthIds:
    """The ids of a monthly table, and of the same time in ClickHouse.

    Every method raises `TimeoutError` once the deadline is reached, and `psycopg.errors.QueryCanceled` or a
    `ClickHouseError` (`TIMEOUT_EXCEEDED`) if it is reached within a statement.

    Attributes:
        table: its name in PostgreSQL.
        start: the first day that counts.
        end: the day after the last one.
        cursor: up to where the sync has copied the table's rows; those beyond are none of ours.
        deadline: on the monotonic clock.
    """

    connection: Connection
    client: Client
    table: str
    start: date
    end: date
    cursor: SyncPosition
    deadline: float

    def postgres_sums(self) -> Sums:
        """What PostgreSQL has."""
        return _sums(self._execute(_POSTGRES_SUMS, {}))

    def clickhouse_sums(self) -> Sums:
        """What ClickHouse has."""
        return _sums([tuple(line.split("\t")) for line in self._ask(_CLICKHOUSE_SUMS).splitlines()])

    def clickhouse_ids(self, buckets: list[int]) -> str:
        """The ids that ClickHouse has in some buckets, a line each."""
        return self._ask(_CLICKHOUSE_IDS, buckets=buckets).strip()

    def find_missing(self, buckets: list[int], present: str) -> tuple[int, list[str]]:
        """How many rows of these buckets are neither `present` nor refused by ClickHouse, and some of their ids."""
        values, named = self._values(buckets, present), sql.Literal(MAX_NAMED_IDS)
        [(count, ids)] = self._execute(_FIND, values, is_missing=_IS_MISSING, named=named)
        return count, ids

    def put_back(self, buckets: list[int], present: str) -> None:
        """Puts the rows that `find_missing` finds before the sync once more, as if they came now.

        Raises:
            RowsInUse: another transaction changes one of them. None was put back.
        """
        try:
            self._execute(_PUT_BACK, self._values(buckets, present), is_missing=_IS_MISSING)
        except (LockNotAvailable, DeadlockDetected) as error:
            raise RowsInUse from error

    def _execute(self, statement: sql.SQL, values: dict[str, Any], **parts: sql.Composable) -> list[tuple[Any, ...]]:
        composed = statement.format(table=sql.Identifier(self.table), **parts)
        with self.connection.transaction():
            self.connection.execute(_LIMITS, [str(int(self._seconds_left() * 1000))])
            cursor = self.connection.execute(
                composed, values | {"start": datetime(*self.start.timetuple()[:3], tzinfo=UTC)}
            )
            return cursor.fetchall() if cursor.description else []

    def _ask(self, statement: str, **values: Any) -> str:
        days = {"start": f"{self.start} 00:00:00", "end": f"{self.end} 00:00:00"}
        limits = {"max_execution_time": int(self._seconds_left())}
        return self.client.raw_query(statement, days | values, limits).decode()

    def _values(self, buckets: list[int], present: str) -> dict[str, Any]:
        return {"buckets": buckets, "present": present, "newline": "\n"} | self.cursor.values()

    def _seconds_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left < 1:
            raise TimeoutError
        return left


def _sums(rows: list[tuple[Any, ...]]) -> Sums:
    return {int(bucket): (int(count), int(hashes) % _HASHES) for bucket, count, hashes in rows}
