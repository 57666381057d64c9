"""Creates missing partitions, and drops old ones if ClickHouse has all their rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec
from psycopg.errors import DeadlockDetected, LockNotAvailable, ObjectNotInPrerequisiteState

from functions.retention.comparison import Comparison
from functions.retention.monthly_tables import (
    MonthlyTable,
    attach,
    count_waiting,
    delete_removed_keys,
    drop,
    drop_if_synced,
    finalize_detach,
    monthly_tables,
    record_event_types,
)
from functions.retention.report import KeptPartition, Report
from functions.shared.partitions import make_partitions, partition_name
from functions.shared.postgres import Connection
from functions.shared.sync_state import BEGINNING, SyncPosition, read_state

# Others use the table, or have just finished a detach.
_BUSY = (LockNotAvailable, DeadlockDetected, ObjectNotInPrerequisiteState)

_UNSYNCED = "it holds rows that are not in ClickHouse yet"

_LOST = "it holds rows that ClickHouse has lost"

_UNKNOWN = "the content of ClickHouse is unknown"


class ClickHouseState(msgspec.Struct, frozen=True):
    """The state of ClickHouse.

    Attributes:
        away: why ClickHouse can't be queried; empty if it can.
        target: id of the table in ClickHouse; None if there is no table yet.
    """

    enabled: bool
    away: str = ""
    target: UUID | None = None


@dataclass(frozen=True, slots=True)
class PartitionMaintenance:
    """One run's work on the partitions, with its report.

    Attributes:
        wanted: months that need a partition; months before the first one are old.
    """

    connection: Connection
    wanted: list[date]
    report: Report

    def make_missing(self) -> None:
        """Creates partitions for the months that have no table at all."""
        present = {table.month for table in monthly_tables(self.connection)}
        for month in self.wanted:
            if month not in present:
                with self._or_busy(partition_name(month)):
                    if not self.report.dry_run:
                        make_partitions(self.connection, [month])
                    self.report.made.append(partition_name(month))

    def finish_detaching(self) -> None:
        """Finishes detaches that someone began, because PostgreSQL allows nothing else with such a partition."""
        for table in monthly_tables(self.connection):
            if table.state == "detaching" and not self.report.dry_run:
                with self._or_busy(table.name):
                    finalize_detach(self.connection, table.name)

    def retain_and_drop(self, clickhouse: ClickHouseState, comparison: Comparison | None) -> None:
        """Attaches all tables of wanted months, and drops old tables, oldest first.

        Args:
            comparison: None if ClickHouse is off or can't be queried.
        """
        for table in monthly_tables(self.connection):
            if table.name in self.report.busy:
                continue
            with self._or_busy(table.name):
                if table.month >= self.wanted[0]:
                    self._retain(table)
                elif not clickhouse.enabled:
                    self._drop(table)
                elif clickhouse.away or comparison is None:
                    self.report.kept.append(KeptPartition(table.name, None, _UNKNOWN))
                else:
                    self._drop_if_synced(table, clickhouse.target, comparison)

    def delete_removed_keys(self, clickhouse: ClickHouseState) -> None:
        """Deletes the removed keys that no ClickHouse needs."""
        if clickhouse.away or self.report.dry_run:
            return
        cursor = read_state(self.connection, clickhouse.target).cursor if clickhouse.target else BEGINNING
        delete_removed_keys(self.connection, cursor if clickhouse.enabled else None)

    def oldest_month(self) -> date:
        """Returns the oldest month that has a table, or would have one after a dry run's changes."""
        months = [table.month for table in monthly_tables(self.connection) if table.name not in self.report.dropped]
        return min([self.wanted[0], *months])

    def _retain(self, table: MonthlyTable) -> None:
        if table.state != "attached":
            if not self.report.dry_run:
                attach(self.connection, table)
            self.report.made.append(table.name)

    def _drop(self, table: MonthlyTable) -> None:
        if not self.report.dry_run:
            record_event_types(self.connection, table.name)
            drop(self.connection, table.name)
        self.report.dropped.append(table.name)

    def _drop_if_synced(self, table: MonthlyTable, target: UUID | None, comparison: Comparison) -> None:
        cursor = self._synced_up_to(table, target)
        unsynced = count_waiting(self.connection, table.name, cursor)
        if not unsynced and self._lacks_rows(table, cursor, comparison):
            return
        if not self.report.dry_run:
            if not unsynced:
                record_event_types(self.connection, table.name)
                unsynced = drop_if_synced(self.connection, table.name, target, cursor)
            elif table.state == "detached":
                attach(self.connection, table)
        if unsynced:
            self.report.kept.append(KeptPartition(table.name, unsynced, _UNSYNCED))
        else:
            self.report.dropped.append(table.name)

    def _lacks_rows(self, table: MonthlyTable, cursor: SyncPosition, comparison: Comparison) -> bool:
        """Whether ClickHouse lacks copied rows, or may lack some. Makes the sync copy missing rows again."""
        missing = comparison.missing_rows(table, cursor, put_back=not self.report.dry_run)
        reason = "; ".join(filter(None, [_LOST if missing.rows else "", missing.failure]))
        if reason:
            self.report.kept.append(KeptPartition(table.name, missing.rows or None, reason, missing.ids))
            self.report.add_failure(f"{table.name} is kept: {reason}")
        return bool(reason)

    def _synced_up_to(self, table: MonthlyTable, target: UUID | None) -> SyncPosition:
        """Returns the cursor up to which ClickHouse has all rows of the table; the sync skips detached tables."""
        if target is None or table.state != "attached":
            return BEGINNING
        return read_state(self.connection, target).cursor

    @contextmanager
    def _or_busy(self, name: str) -> Iterator[None]:
        """Reports the partition as busy if others use it."""
        try:
            yield
        except _BUSY:
            self.report.busy.append(name)
