"""Fills one month of events from ClickHouse, some hours at a time."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple

from psycopg import sql

from functions.shared import event_columns
from functions.shared.partitions import first_moment, later_month
from functions.shared.postgres import Connection
from infra.operations.refill import record as records
from infra.operations.refill.kept_events import KeptEvents, remove_other_keys
from infra.operations.refill.record import Record

ROWS_AT_ONCE = 200_000
"""One transaction adds about as many events, unless a single hour has more."""

_HOUR_SECONDS = 3600

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
    """A month of events to fill."""

    connection: Connection
    kept: KeptEvents
    month: date
    record: Record

    def steps(self) -> Iterator[Step]:
        """Yields what is not filled yet."""
        start = records.filled_to(self.connection, self.record, self.month)
        together: list[int] = []
        events = 0
        for hour, count in self.kept.hours(start, first_moment(later_month(self.month, 1))):
            if together and events + count > ROWS_AT_ONCE:
                yield Step(together[0], together[-1] + _HOUR_SECONDS, events)
                together, events = [], 0
            together.append(hour)
            events += count
        if together:
            yield Step(together[0], together[-1] + _HOUR_SECONDS, events)

    def fill(self, step: Step) -> int:
        """Adds the events of some hours in one transaction; returns how many PostgreSQL did not have."""
        start, end = datetime.fromtimestamp(step.start, UTC), datetime.fromtimestamp(step.end, UTC)
        with self.connection.transaction():
            self.kept.load(self.connection, start, end)
            added = self.connection.execute(_ADD, {"last_xact": str(self.record.last_xact)}).rowcount
            if self.connection.execute(_COUNT).fetchone() != (added,):
                remove_other_keys(self.connection)
            records.progress(self.connection, self.record, self.month, end, added)
        return added
