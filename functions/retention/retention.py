"""The daily work that keeps the right months in both stores."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg.errors import LockNotAvailable

from functions.retention.clickhouse_ttl import keep_months
from functions.retention.comparison import Comparison
from functions.retention.erasures import count_forgettable, forget_users
from functions.retention.partition_maintenance import ClickHouseState, PartitionMaintenance
from functions.retention.rejected_events import count_rejected, delete_rejected
from functions.retention.report import Report
from functions.retention.tenant_usage import count_old, fold_and_delete
from functions.shared import clickhouse, locks, settings
from functions.shared.clickhouse import reason_of, target_of
from functions.shared.partitions import first_moment, wanted_months
from functions.shared.postgres import Connection, TimeLimits, advisory_lock_released, connect
from functions.shared.rollup_days import first_whole_day, forget_rollups
from functions.shared.secret import UrlSource
from functions.shared.sync_state import BEGINNING, foreign_position, read_state
from functions.shared.timestamp import months_before, utc_now

LOCK_TIMEOUT_SECONDS = 1
"""Limits how long the retention waits, and others for it. Longer work is left to the next run."""

# Share of a run's time for comparing tables with ClickHouse; the rest is for the work after that.
_COMPARING_SHARE = 0.8

_LOCK = "SELECT pg_advisory_lock(%s)"


class RetentionError(Exception):
    """Work was left undone; the message says why."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The stores, and how many months each of them keeps.

    Attributes:
        months: number of months that PostgreSQL keeps.
        clickhouse_url: None if ClickHouse is off.
        clickhouse_months: number of months that ClickHouse keeps; None for ever.
        cluster: cluster of the ClickHouse table; None for a single server.
    """

    database_url: UrlSource
    months: int
    clickhouse_url: UrlSource | None = None
    clickhouse_months: int | None = None
    cluster: str | None = None

    @classmethod
    def of_settings(cls) -> Self:
        """Returns the retention that the environment configures.

        Raises:
            SettingError: a setting is missing or malformed.
        """
        return cls(
            database_url=settings.database_source(),
            months=settings.retention_months(),
            clickhouse_url=settings.clickhouse_source(),
            clickhouse_months=settings.clickhouse_retention_months(),
            cluster=settings.clickhouse_cluster(),
        )

    def run(self, now: datetime, seconds: float, *, dry_run: bool = False) -> Report:
        """Creates missing partitions, and removes old data.

        Args:
            now: current time with its UTC offset.
            seconds: time limit of a statement or transaction; comparing tables may take most of it in total.
            dry_run: change nothing, and report what would be done.

        Raises:
            RetentionError: another retention is running.
            psycopg.Error: the connection to PostgreSQL was lost.
        """
        report = Report(dry_run)
        today = now.astimezone(UTC).date()
        deadline = time.monotonic() + seconds * _COMPARING_SHARE
        with self._connect(seconds) as connection, _locked(connection):
            partitions = PartitionMaintenance(connection, wanted_months(today, self.months), report)
            partitions.make_missing()
            partitions.finish_detaching()
            with self._clickhouse(connection, seconds) as (client, state):
                months = self.clickhouse_months
                comparison = Comparison(connection, client, months, today, deadline) if client else None
                partitions.retain_and_drop(state, comparison)
                partitions.delete_removed_keys(state)
                remove_rejected = count_rejected if dry_run else delete_rejected
                before, oldest = months_before(now, self.months), first_moment(partitions.oldest_month())
                report.rejected_events_deleted = remove_rejected(connection, before, oldest)
                report.erased_users_forgotten = (count_forgettable if dry_run else forget_users)(connection)
                report.usage_counts_deleted = (count_old if dry_run else fold_and_delete)(connection)
                report.add_failure(state.away)
                if client:
                    self._set_clickhouse_ttl(connection, client, report)
        return report

    def _connect(self, seconds: float) -> Connection:
        limit = max(1, int(seconds))
        options = f"-c lock_timeout={LOCK_TIMEOUT_SECONDS}s"
        return connect(self.database_url, TimeLimits(statement=limit, transaction=limit), options)

    @contextmanager
    def _clickhouse(self, connection: Connection, seconds: float) -> Iterator[tuple[Client | None, ClickHouseState]]:
        """Connects to ClickHouse, if enabled and reachable, and yields the client and the state of ClickHouse."""
        if self.clickhouse_url is None:
            yield None, ClickHouseState(enabled=False)
            return
        try:
            client = clickhouse.connect(self.clickhouse_url, seconds)
            target = target_of(client)
        except ClickHouseError as error:
            yield None, ClickHouseState(enabled=True, away=f"ClickHouse can't be reached: {reason_of(error)}")
            return
        with client:
            yield client, ClickHouseState(enabled=True, target=target, away=_restored(connection, target))

    def _set_clickhouse_ttl(self, connection: Connection, client: Client, report: Report) -> None:
        try:
            if self.clickhouse_months and not report.dry_run:
                forget_rollups(connection, before=first_whole_day(self.clickhouse_months, utc_now().date()))
            report.clickhouse_ttl = keep_months(client, self.clickhouse_months, self.cluster, dry_run=report.dry_run)
        except ClickHouseError as error:
            report.add_failure(f"ClickHouse's TTL could not be changed: {reason_of(error)}")


def _restored(connection: Connection, target: UUID | None) -> str:
    """Returns why the sync cursor does not fit this database; empty if it does."""
    cursor = read_state(connection, target).cursor if target else BEGINNING
    if foreign_position(connection, cursor) is None:
        return ""
    return "PostgreSQL was restored from another database: run `usage-events sync --reset` first"


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    try:
        connection.execute(_LOCK, [locks.RETENTION])
    except LockNotAvailable as error:
        raise RetentionError("another retention is running") from error
    with advisory_lock_released(connection, locks.RETENTION):
        yield
