"""Compares the ids of one month between both stores.

Both stores compute the same hash of an id. The hash selects one of 4,096 buckets. Each bucket has the sum of its
hashes, which does not depend on the order of the ids.
"""

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from clickhouse_connect.driver.client import Client
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from functions.shared.directory_lock import shared_directory_lock
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition

MAX_NAMED_IDS = 10

_HASHES = 2**64

# OFFSET keeps PostgreSQL from computing the hash again wherever it is used.
_POSTGRES_SUMS = sql.SQL("""
    SELECT (get_byte(hash, 8) * 256 + get_byte(hash, 9)) %% 4096 AS bucket,
           count(*),
           sum(('x' || encode(substring(hash FROM 1 FOR 8), 'hex'))::bit(64)::bigint)
    FROM (SELECT sha256(uuid_send(id)) AS hash FROM {table} WHERE timestamp >= %(start)s OFFSET 0) AS hashes
    GROUP BY bucket
""")

# A row may be stored twice until its parts are merged; FINAL reads it once.
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

# A row that ClickHouse refused is not missing while it waits in `rejected_events` for a replay.
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

# The mover leaves events alone that changed after their namespace has moved.
_OPEN_MOVES = "SELECT EXISTS (SELECT FROM namespace_moves WHERE done_at IS NULL)"

# The planner can't know how many ids are compared, and might compare each id with each other one.
_LIMITS = "SELECT set_config('statement_timeout', %s, true), set_config('enable_nestloop', 'off', true)"

type Sums = dict[int, tuple[int, int]]
"""Number of ids and sum of their hashes, for each bucket that is not empty."""


class RowsInUse(Exception):
    """Other transactions are changing the rows."""


class RowsMoving(Exception):
    """Namespaces have moved, and their events have not yet."""


@dataclass(frozen=True, slots=True)
class MonthIds:
    """The ids of a monthly table, and of the same days in ClickHouse.

    Every method raises `TimeoutError` after the deadline. If the deadline passes within a statement, the method raises
    `psycopg.errors.QueryCanceled` or a `ClickHouseError` (`TIMEOUT_EXCEEDED`).

    Attributes:
        table: name of the table in PostgreSQL.
        start: first day to compare.
        end: day after the last one.
        cursor: sync cursor up to which the table's rows were copied; later rows are not compared.
        deadline: deadline on the monotonic clock.
    """

    connection: Connection
    client: Client
    table: str
    start: date
    end: date
    cursor: SyncPosition
    deadline: float

    def postgres_sums(self) -> Sums:
        """Returns the sums in PostgreSQL."""
        return _sums(self._execute(_POSTGRES_SUMS, {}))

    def clickhouse_sums(self) -> Sums:
        """Returns the sums in ClickHouse."""
        return _sums([tuple(line.split("\t")) for line in self._ask(_CLICKHOUSE_SUMS).splitlines()])

    def clickhouse_ids(self, buckets: list[int]) -> str:
        """Returns the ids of some buckets in ClickHouse, one per line."""
        return self._ask(_CLICKHOUSE_IDS, buckets=buckets).strip()

    def find_missing(self, buckets: list[int], present: str) -> tuple[int, list[str]]:
        """Returns the number of rows that are neither `present` nor refused by ClickHouse, and some of their ids."""
        values, named = self._values(buckets, present), sql.Literal(MAX_NAMED_IDS)
        [(count, ids)] = self._execute(_FIND, values, is_missing=_IS_MISSING, named=named)
        return count, ids

    def put_back(self, buckets: list[int], present: str) -> None:
        """Makes the sync copy the rows that `find_missing` finds, as if they were new.

        Raises:
            RowsInUse: another transaction is changing one of the rows. No row was changed.
            RowsMoving: the rows may be about to move. No row was changed.
        """
        try:
            with shared_directory_lock(self.connection):
                if self.connection.execute(_OPEN_MOVES).fetchone() == (True,):
                    raise RowsMoving
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
