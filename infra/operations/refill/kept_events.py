"""Reads from ClickHouse what a refill adds to PostgreSQL."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from io import RawIOBase
from typing import Any, NamedTuple, cast

from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared import event_columns
from functions.shared.clickhouse import READ_SETTINGS
from functions.shared.postgres import Connection
from functions.sync.chunks import EPOCH_FACTOR

_CHUNK_BYTES = 1024 * 1024

_SETTINGS = READ_SETTINGS | {
    "output_format_json_escape_forward_slashes": 0,
    "output_format_json_quote_64bit_integers": 0,
    "do_not_merge_across_partitions_select_final": 1,
}

# Rows of later epochs came from the database that is being refilled. PREWHERE may select by time before FINAL, because
# all rows with one key have one timestamp.
_OF_BEFORE = """
    FROM ai_usage_events FINAL
    PREWHERE timestamp >= {{start:DateTime64(6, 'UTC')}} AND timestamp < {{end:DateTime64(6, 'UTC')}}
    WHERE version < {epoch}
      AND NOT has({{users:Array(UInt64)}}, user_id)
      AND NOT arrayExists(path -> startsWith(namespace_path, path), {{paths:Array(String)}})
"""

_HOURS = "SELECT toUnixTimestamp(toStartOfHour(timestamp)) AS hour, count() {of_before} GROUP BY hour ORDER BY hour"

# The format is that of PostgreSQL's COPY, but for ClickHouse's empty values.
_ROWS = """
    SELECT id, concat(toString(timestamp), '+00'), event, user_id, nullIf(namespace_path, ''), nullIf(project_id, 0),
        toJSONString(payload), {xact_id}
    {of_before}
    FORMAT TabSeparated
"""

_ARRIVING = sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS arriving ({columns}, xact_id xid8) ON COMMIT DELETE ROWS")

_COPY = sql.SQL("COPY arriving ({columns}, xact_id) FROM STDIN").format(columns=sql.SQL(event_columns.ALL))

# ClickHouse would show the event twice. An event that only has the id of another one stays in ClickHouse.
_REMOVE_OTHER_KEYS = """
    INSERT INTO removed_keys (id, timestamp, event, namespace_path, user_id)
    SELECT arriving.id, arriving.timestamp, arriving.event, arriving.namespace_path, arriving.user_id
    FROM arriving
    JOIN ai_usage_events AS stored
        ON stored.id = arriving.id AND stored.event = arriving.event AND stored.user_id = arriving.user_id
    WHERE (stored.timestamp, stored.namespace_path)
        IS DISTINCT FROM (arriving.timestamp, arriving.namespace_path)
"""


class Excluded(NamedTuple):
    """Whose events must not come back, because an erasure was interrupted when PostgreSQL was lost."""

    users: list[int]
    paths: list[str]


class KeptEvents(NamedTuple):
    """The events that ClickHouse has of a lost PostgreSQL.

    Attributes:
        epoch: first epoch of the database that is being refilled; rows of earlier ones are read.
        xact_id: ClickHouse's expression for the number of a refilled row.
    """

    client: Client
    epoch: int
    xact_id: str
    excluded: Excluded

    def hours(self, start: datetime, end: datetime) -> Iterable[Any]:
        """Returns the hours that have events, in seconds since the epoch of Unix, each with their number."""
        text = _HOURS.format(of_before=self._of_before)
        return self.client.query(text, self._values(start, end), _SETTINGS).result_rows

    def load(self, connection: Connection, start: datetime, end: datetime) -> None:
        """Fills the temporary table `arriving` with the events. Call it within a transaction."""
        connection.execute(_ARRIVING.format(columns=sql.SQL(event_columns.ALL_WITH_TYPES)))
        with connection.cursor().copy(_COPY) as copy:
            for some in self._rows(start, end):
                copy.write(some)

    def _rows(self, start: datetime, end: datetime) -> Iterator[bytes]:
        statement = _ROWS.format(xact_id=self.xact_id, of_before=self._of_before)
        stream = cast("RawIOBase", self.client.raw_stream(statement, self._values(start, end), _SETTINGS))
        with stream:
            while some := stream.read(_CHUNK_BYTES):
                yield some

    def _values(self, start: datetime, end: datetime) -> dict[str, Any]:
        users, paths = self.excluded
        return {"start": start, "end": end, "users": users, "paths": paths}

    @property
    def _of_before(self) -> str:
        return _OF_BEFORE.format(epoch=self.epoch * EPOCH_FACTOR)


def remove_other_keys(connection: Connection) -> None:
    """Has the sync remove from ClickHouse where events of `arriving` are that PostgreSQL has elsewhere."""
    connection.execute(_REMOVE_OTHER_KEYS)
