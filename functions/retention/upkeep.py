"""The partitions: missing ones are made, and old ones dropped, but none of which ClickHouse lacks a row."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec
from psycopg.errors import DeadlockDetected, LockNotAvailable, ObjectNotInPrerequisiteState

from functions.retention.bookmark import Bookmark, current_bookmark, sync_again, write_bookmark
from functions.retention.comparison import Comparison
from functions.retention.monthly_tables import (
    MonthlyTable,
    detach,
    drop,
    drop_if_synced,
    finalize_detach,
    monthly_tables,
)
from functions.retention.report import KeptPartition, Report
from functions.shared.partitions import make_partitions, partition_name
from functions.shared.postgres import Connection
from functions.shared.sync_state import BEGINNING, SyncPosition, count_unsynced

# Others hold what is needed; or another partition is still being detached, and there can be only one.
_BUSY = (LockNotAvailable, DeadlockDetected, ObjectNotInPrerequisiteState)

_UNSYNCED = "it holds rows that are not in ClickHouse yet"

_LOST = "it holds rows that ClickHouse had and has no more"

_UNKNOWN = "it is not known what ClickHouse has"


class ClickHouseState(msgspec.Struct, frozen=True):
    """What is known of ClickHouse.

    Attributes:
        away: why it can't be asked; empty where it can.
        target: what identifies its table; None where there is none yet.
    """

    enabled: bool
    away: str = ""
    target: UUID | None = None

    @property
    def answers(self) -> bool:
        """Whether it is known what it has."""
        return self.enabled and not self.away


@dataclass(frozen=True, slots=True)
class Upkeep:
    """One run's work on the partitions, written down in its report.

    Attributes:
        wanted: the months that need a partition; those before the first are old.
    """

    connection: Connection
    wanted: list[date]
    report: Report

    def make_missing(self) -> None:
        """Makes the partitions of the months that have no table at all."""
        present = {table.month for table in monthly_tables(self.connection)}
        for month in self.wanted:
            if month not in present:
                with self._or_busy(partition_name(month)):
                    if not self.report.dry_run:
                        make_partitions(self.connection, [month])
                    self.report.made.append(partition_name(month))

    def finish_detaching(self) -> None:
        """Ends the detach that an earlier run began."""
        for table in monthly_tables(self.connection):
            if table.state == "detaching" and not self.report.dry_run:
                with self._or_busy(table.name):
                    finalize_detach(self.connection, table.name)

    def retain_and_drop(self, clickhouse: ClickHouseState, comparison: Comparison | None) -> None:
        """Sees to it that all tables of wanted months are attached, and that old ones go, the oldest first.

        Args:
            comparison: None where ClickHouse is off or can't be asked.
        """
        for table in monthly_tables(self.connection):
            if table.name in self.report.busy:
                continue
            with self._or_busy(table.name):
                if table.month >= self.wanted[0]:
                    self._retain(table, clickhouse)
                elif not clickhouse.enabled:
                    self._drop(table)
                elif clickhouse.away or comparison is None:
                    self.report.kept.append(KeptPartition(table.name, None, _UNKNOWN))
                else:
                    self._drop_if_synced(table, clickhouse, comparison)

    def oldest_month(self) -> date:
        """The oldest month that has a table, or will have one after a dry run's changes."""
        months = [table.month for table in monthly_tables(self.connection) if table.name not in self.report.dropped]
        return min([self.wanted[0], *months])

    def _retain(self, table: MonthlyTable, clickhouse: ClickHouseState) -> None:
        if not self.report.dry_run:
            if table.state == "detached":
                self._attach(table, clickhouse)
            elif table.bookmark and clickhouse.answers:
                sync_again(self.connection, table.name, self._synced_up_to(table, clickhouse.target))
        if table.state != "attached":
            self.report.made.append(table.name)

    def _drop(self, table: MonthlyTable) -> None:
        if not self.report.dry_run:
            if table.state == "attached":
                detach(self.connection, table.name)
            drop(self.connection, table.name)
        self.report.dropped.append(table.name)

    def _drop_if_synced(self, table: MonthlyTable, clickhouse: ClickHouseState, comparison: Comparison) -> None:
        # What is written after this is beyond the cursor, and counted once more before the table is dropped.
        cursor = self._synced_up_to(table, clickhouse.target)
        unsynced = count_unsynced(self.connection, table.name, cursor)
        if not unsynced and self._lacks_rows(table, cursor, clickhouse, comparison):
            return
        if not self.report.dry_run:
            if table.state == "attached":
                unsynced = self._detach_and_drop(table, clickhouse.target, cursor, unsynced)
            else:
                unsynced = self._drop_or_attach(table, clickhouse.target)
        if unsynced:
            self.report.kept.append(KeptPartition(table.name, unsynced, _UNSYNCED))
        else:
            self.report.dropped.append(table.name)

    def _lacks_rows(
        self, table: MonthlyTable, cursor: SyncPosition, clickhouse: ClickHouseState, comparison: Comparison
    ) -> bool:
        """Whether ClickHouse lacks rows that were copied, or may lack some; these are put before the sync again."""
        changes = not self.report.dry_run
        missing = comparison.missing_rows(table, cursor, put_back=changes and table.state == "attached")
        if missing.rows and changes and table.state != "attached":
            self._attach(table, clickhouse)
            missing = comparison.missing_rows(table, cursor, put_back=True)
        reason = "; ".join(filter(None, [_LOST if missing.rows else "", missing.failure]))
        if reason:
            self.report.kept.append(KeptPartition(table.name, missing.rows or None, reason, missing.ids))
            self.report.add_failure(f"{table.name} is kept: {reason}")
        return bool(reason)

    def _detach_and_drop(self, table: MonthlyTable, target: UUID | None, cursor: SyncPosition, unsynced: int) -> int:
        """Returns how many rows keep the partition from being dropped."""
        if unsynced:
            if table.bookmark:
                sync_again(self.connection, table.name, cursor)
            return unsynced
        bookmark = Bookmark(target, cursor)
        write_bookmark(self.connection, table.name, bookmark)
        detach(self.connection, table.name)
        return self._drop_or_attach(MonthlyTable(table.month, "detached", bookmark), target)

    def _drop_or_attach(self, table: MonthlyTable, target: UUID | None) -> int:
        """Looks once more at a table that is detached: a transaction that was open may have written to it."""
        unsynced = drop_if_synced(self.connection, table.name, self._synced_up_to(table, target))
        if unsynced:
            self._attach(table, ClickHouseState(enabled=True, target=target))
        return unsynced

    def _attach(self, table: MonthlyTable, clickhouse: ClickHouseState) -> None:
        if clickhouse.enabled and table.bookmark is None:
            write_bookmark(self.connection, table.name, Bookmark())  # until the rows are before the sync again
        make_partitions(self.connection, [table.month])
        if clickhouse.answers:
            sync_again(self.connection, table.name, self._synced_up_to(table, clickhouse.target))

    def _synced_up_to(self, table: MonthlyTable, target: UUID | None) -> SyncPosition:
        """Up to where all rows of the table are in ClickHouse for certain."""
        current = current_bookmark(self.connection, target)
        if table.state == "attached" and table.bookmark is None:
            return current.cursor
        noted = table.bookmark or Bookmark()
        return min(noted.cursor, current.cursor) if noted.target == target else BEGINNING

    @contextmanager
    def _or_busy(self, name: str) -> Iterator[None]:
        """Reports the partition as busy where others use it."""
        try:
            yield
        except _BUSY:
            self.report.busy.append(name)
