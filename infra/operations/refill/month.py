"""Fills one month of events from ClickHouse, some hours at a time."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from io import RawIOBase
from typing import Any, NamedTuple, cast

from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared import event_columns
from functions.shared.clickhouse import READ_SETTINGS
from functions.shared.partitions import first_moment, later_month
from functions.shared.postgres import Connection
from functions.sync.chunks import EPOCH_FACTOR

ROWS_AT_ONCE = 200_000
"""One transaction adds about as many events, unless a single hour has more."""

_CHUNK_BYTES = 1024 * 1024
_HOUR_SECONDS = 3600

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

# An event that was stored again meanwhile stays as it is, in whichever month.
_ADD = sql.SQL("""
    WITH others AS MATERIALIZED (
        SELECT id FROM ai_usage_events WHERE xact_id > %(last_xact)s::xid8
    )
    INSERT INTO ai_usage_events ({columns}, xact_id)
    SELECT {columns}, xact_id
    FROM arriving
    LEFT JOIN (SELECT id AS other_id FROM others) AS others ON other_id = id
    WHERE other_id IS NULL
    ON CONFLICT DO NOTHING
""").format(columns=sql.SQL(event_columns.ALL))

_COUNT = "SELECT count(*) FROM arriving"

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

_FILLED = """
    INSERT INTO refilled_months AS known (epoch, month, filled_to, events)
    VALUES (%(epoch)s, %(month)s, to_timestamp(%(end)s), %(events)s)
    ON CONFLICT (epoch, month) DO UPDATE SET
        filled_to = excluded.filled_to, events = known.events + excluded.events
"""

_FILLED_TO = "SELECT filled_to, events FROM refilled_months WHERE epoch = %s AND month = %s"


class Excluded(NamedTuple):
    """Whose events must not come back, because an erasure was interrupted when PostgreSQL was lost."""

    users: list[int]
    paths: list[str]


class Step(NamedTuple):
    """Some hours of a month.

    Attributes:
        start: first second, since the epoch of Unix.
        end: the second after the last one.
        events: number of events in ClickHouse.
    """

    start: int
    end: int
    events: int


class Month(NamedTuple):
    """A month of events to fill.

    Attributes:
        epoch: number of the refill; rows of earlier epochs are filled in.
        last_xact: greatest transaction number of a refilled row.
        xact_id: ClickHouse's expression for the number of a refilled row.
    """

    connection: Connection
    client: Client
    month: date
    epoch: int
    last_xact: int
    xact_id: str
    excluded: Excluded

    def filled(self) -> tuple[datetime, int]:
        """Returns up to when the month is filled, and with how many events."""
        row = self.connection.execute(_FILLED_TO, [self.epoch, self.month]).fetchone()
        return (row[0], row[1]) if row else (first_moment(self.month), 0)

    def steps(self) -> Iterator[Step]:
        """Yields what is not filled yet."""
        start, _ = self.filled()
        hours = self._query(_HOURS, start, first_moment(later_month(self.month, 1)))
        together: list[int] = []
        events = 0
        for hour, count in hours:
            if together and events + count > ROWS_AT_ONCE:
                yield Step(together[0], together[-1] + _HOUR_SECONDS, events)
                together, events = [], 0
            together.append(hour)
            events += count
        if together:
            yield Step(together[0], together[-1] + _HOUR_SECONDS, events)

    def fill(self, step: Step) -> int:
        """Adds the events of some hours in one transaction; returns how many PostgreSQL did not have."""
        columns = sql.SQL(event_columns.ALL_WITH_TYPES)
        with self.connection.transaction():
            self.connection.execute(_ARRIVING.format(columns=columns))
            with self.connection.cursor().copy(_COPY) as copy:
                for some in self._rows(step):
                    copy.write(some)
            added = self.connection.execute(_ADD, {"last_xact": str(self.last_xact)}).rowcount
            if self.connection.execute(_COUNT).fetchone() != (added,):
                self.connection.execute(_REMOVE_OTHER_KEYS)
            values = {"epoch": self.epoch, "month": self.month, "end": step.end, "events": added}
            self.connection.execute(_FILLED, values)
        return added

    def _rows(self, step: Step) -> Iterator[bytes]:
        statement = _ROWS.format(xact_id=self.xact_id, of_before=self._of_before)
        start, end = datetime.fromtimestamp(step.start, UTC), datetime.fromtimestamp(step.end, UTC)
        stream = cast("RawIOBase", self.client.raw_stream(statement, self._values(start, end), _SETTINGS))
        with stream:
            while some := stream.read(_CHUNK_BYTES):
                yield some

    def _query(self, statement: str, start: datetime, end: datetime) -> Iterable[Any]:
        text = statement.format(of_before=self._of_before)
        return self.client.query(text, self._values(start, end), _SETTINGS).result_rows

    def _values(self, start: datetime, end: datetime) -> dict[str, Any]:
        users, paths = self.excluded
        return {"start": start, "end": end, "users": users, "paths": paths}

    @property
    def _of_before(self) -> str:
        return _OF_BEFORE.format(epoch=self.epoch * EPOCH_FACTOR)
