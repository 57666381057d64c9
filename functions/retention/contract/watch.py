"""Compares the last whole day with the week before, in the store that has both."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.retention.contract import counts
from functions.retention.contract.counts import Counts, Declared
from functions.retention.contract.verdict import DAYS_BEFORE, Comparison, compare
from functions.shared import clickhouse, settings
from functions.shared.catalog.registry import Registry, load
from functions.shared.postgres import Connection, TimeLimits, connect
from functions.shared.secret import UrlSource
from functions.shared.sync_state import read_state


@dataclass(frozen=True, slots=True)
class ContractWatch:
    """The stores, and the definitions that say what their events may carry.

    Attributes:
        clickhouse_url: None if ClickHouse is off.
        registry: None for the definitions of this checkout or package, read when they are needed.
    """

    database_url: UrlSource
    clickhouse_url: UrlSource | None = None
    registry: Registry | None = None

    @classmethod
    def of_settings(cls) -> Self:
        """Returns the watch that the environment configures.

        Raises:
            SettingError: a setting is missing or malformed.
        """
        return cls(settings.database_source(), settings.clickhouse_source())

    def compare(self, day: date, seconds: float) -> list[Comparison]:
        """Compares a whole day in UTC with the seven days before it.

        Args:
            seconds: time limit of each statement.

        Raises:
            psycopg.Error: PostgreSQL did not answer in time.
        """
        registry = self.registry or load()
        paths, events = counts.declared(registry), sorted(registry.by_id)
        first, limit = day - timedelta(days=DAYS_BEFORE), max(1, int(seconds))
        with connect(self.database_url, TimeLimits(statement=limit, transaction=limit)) as connection:
            found = self._in_clickhouse(connection, paths, events, first, day, seconds)
            if found is None:
                found = counts.in_postgresql(connection, paths, events, first, day)
        return list(compare(found, registry, day))

    def _in_clickhouse(
        self, connection: Connection, paths: Declared, events: Sequence[int], first: date, last: date, seconds: float
    ) -> Counts | None:
        """Counts in ClickHouse; returns None if it is off, away, or lacks a part of the days."""
        if self.clickhouse_url is None:
            return None
        try:
            with closing(clickhouse.connect(self.clickhouse_url, seconds)) as client:
                target = clickhouse.readable_target_of(client)
                state = None if target is None else read_state(connection, target)
                if state is None or state.caught_up_at is None or state.caught_up_at < _end_of(last):
                    return None
                return counts.in_clickhouse(client, paths, events, first, last)
        except ClickHouseError:
            return None


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)
