"""Brings the events of a month that only ClickHouse has back into a PostgreSQL that was put back to a moment."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from psycopg import sql

from functions.shared import event_columns
from functions.shared.partitions import later_month
from functions.shared.postgres import Connection
from functions.shared.sync_state import SyncPosition
from infra.operations.month_contents import MonthContents, differing_minutes
from infra.operations.refill import record as records
from infra.operations.refill.kept_events import KeptEvents, remove_other_keys
from infra.operations.refill.record import Record

_EVERYTHING = SyncPosition(2**64 - 1, UUID(int=2**128 - 1))

# An event that PostgreSQL has, in whichever month, stays as it is. One that was removed since the moment stays removed:
# its key waits in `removed_keys`, because no sync runs.
_IS_LOST = sql.SQL("""
    NOT EXISTS (SELECT FROM ai_usage_events AS stored WHERE stored.id = arriving.id)
    AND NOT EXISTS (SELECT FROM removed_keys WHERE removed_keys.id = arriving.id)
""")

_COUNT = sql.SQL("""
    SELECT count(*) FILTER (WHERE {is_lost}),
        count(*) FILTER (WHERE EXISTS (
            SELECT
            FROM ai_usage_events AS stored
            WHERE stored.id = arriving.id
              AND (stored.event, stored.user_id) = (arriving.event, arriving.user_id)
              AND (stored.timestamp, stored.namespace_path, stored.project_id, stored.payload)
                  IS DISTINCT FROM
                  (arriving.timestamp, arriving.namespace_path, arriving.project_id, arriving.payload)
        ))
    FROM arriving
""").format(is_lost=_IS_LOST)

_ADD = sql.SQL("""
    INSERT INTO ai_usage_events ({columns}, xact_id)
    SELECT {columns}, greatest(xact_id, (%(base)s + 1)::text::xid8)
    FROM arriving
    WHERE {is_lost}
    ON CONFLICT DO NOTHING
""").format(columns=sql.SQL(event_columns.ALL), is_lost=_IS_LOST)


class Found(NamedTuple):
    """Numbers of events in ClickHouse.

    Attributes:
        lost: number of events that PostgreSQL lacks.
        differing: number of events that PostgreSQL has otherwise, and keeps so.
    """

    lost: int
    differing: int


@dataclass(frozen=True, slots=True)
class LostEvents:
    """A month of events in both stores. No sync may run meanwhile."""

    connection: Connection
    kept: KeptEvents
    month: date
    record: Record

    def ranges(self) -> list[tuple[datetime, datetime]]:
        """Returns the times, each from a first moment until before a last one, in which the stores may differ."""
        client, end = self.kept.client, later_month(self.month, 1)
        contents = MonthContents(self.connection, client, self.month, self.month, end)
        there = contents.clickhouse_sums()
        here = {minute: sums for minute, sums in contents.postgres_sums(_EVERYTHING)[0].items() if minute in there}
        start = records.filled_to(self.connection, self.record, self.month).timestamp()
        return [
            (datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC) + timedelta(minutes=1))
            for first, last in differing_minutes(here, there)
            if last >= start
        ]

    def count(self, start: datetime, end: datetime) -> Found:
        """Counts the events of a time that PostgreSQL lacks or has otherwise."""
        with self.connection.transaction():
            return self._load(start, end)

    def bring(self, start: datetime, end: datetime) -> Found:
        """Adds the events of a time that PostgreSQL lacks, in one transaction."""
        with self.connection.transaction():
            found = self._load(start, end)
            added = self.connection.execute(_ADD, {"base": self.record.base_xact}).rowcount
            remove_other_keys(self.connection)
            records.progress(self.connection, self.record, self.month, end, added)
        return Found(added, found.differing)

    def _load(self, start: datetime, end: datetime) -> Found:
        self.kept.load(self.connection, start, end)
        return Found(*self.connection.execute(_COUNT).fetchall()[0])
