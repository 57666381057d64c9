"""Erases everything that is stored of a user or a namespace."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg.errors import LockNotAvailable

from functions.shared import clickhouse, locks
from functions.shared.clickhouse import target_of
from functions.shared.postgres import Connection, TimeLimits, advisory_lock_released, connect
from functions.shared.rollup_days import confirm_changes, record_change
from functions.sync import kept_directory, rebuild
from functions.sync.known_names import copy_names, has_names
from functions.sync.moves import Mover
from infra.operations.erasure import record as records
from infra.operations.erasure import rollups
from infra.operations.erasure.clickhouse import (
    RowsRemain,
    count_events,
    has_table,
    seconds_of_old_parts,
)
from infra.operations.erasure.clickhouse import delete_events as delete_in_clickhouse
from infra.operations.erasure.events import delete_events, delete_removed_keys, removed_events
from infra.operations.erasure.moves import MovesRemain, finish_moves
from infra.operations.erasure.names import delete_names
from infra.operations.erasure.record import Record
from infra.operations.erasure.rejected_events import delete_rejected
from infra.operations.erasure.subject import Subject
from infra.operations.erasure.writers import WritersRemain, wait_for_writers

_STATEMENT_SECONDS = 600
_MUTATION_SECONDS = 24 * 60 * 60
_ROWS_BETWEEN_MESSAGES = 10_000

_LOCK = "SELECT pg_advisory_lock(%s)"

_WAIT_LONG = """
    SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', '0', true),
        set_config('transaction_timeout', '0', true)
"""

_WAS_COPIED = "SELECT EXISTS (SELECT FROM sync_state)"


class ErasureError(Exception):
    """The erasure is not finished; the message says why. Repeating the command finishes it."""


class Erased(msgspec.Struct):
    """What an erasure removed, and what will still be removed.

    Attributes:
        counts: numbers by name, of this call alone.
        requested_at: events that were sent before and are still on their way are not stored.
        repels_until: none of them can be on its way any longer.
        clickhouse: `done`, `off`, or `unfinished`.
        old_parts_seconds: for how long ClickHouse keeps files that hold the removed rows.
        shared_rejected: ids of rejected events that concern others too; they stay.
        failure: why ClickHouse is unfinished; empty otherwise.
    """

    counts: dict[str, int]
    requested_at: datetime
    repels_until: datetime
    clickhouse: str = "unfinished"
    old_parts_seconds: int = 0
    shared_rejected: list[UUID] = []
    failure: str = ""


class Eraser(msgspec.Struct, frozen=True):
    """The stores to erase from.

    Attributes:
        clickhouse_url: None if ClickHouse is off.
        cluster: cluster of the ClickHouse table; None for a single server.
        progress: called with sentences about what goes on.
        wait_seconds: longest wait for open transactions, and for a running sync.
    """

    database_url: str
    clickhouse_url: str | None = None
    cluster: str | None = None
    progress: Callable[[str], None] = lambda _: None
    wait_seconds: float = 60

    def erase(self, subject: Subject, requested_by: str) -> Erased:
        """Erases everything of the subject that was sent until now. May be repeated, also after an interruption.

        The record comes first: a consumer that sees the record stores no event that was sent before. Transactions that
        did not see the record have ended when the deletion begins, so none of them can store such an event later.

        Raises:
            ErasureError: a transaction of before did not end, another erasure is running, or what is stored under
                former paths of namespaces can't be moved.
            psycopg.Error: the connection to PostgreSQL failed.
        """
        limits = TimeLimits(_STATEMENT_SECONDS, _STATEMENT_SECONDS)
        with connect(self.database_url, limits) as connection, self._locked(connection, locks.ERASURE, "erasure"):
            record = records.begin(connection, subject, requested_by)
            try:
                wait_for_writers(connection, self.wait_seconds, self.progress)
            except WritersRemain as error:
                raise ErasureError(f"nothing was removed yet: {error}") from error
            self._finish_moves(connection, subject)
            shared = self._erase_from_postgresql(connection, record)
            erased = Erased({}, record.requested_at, record.repels_until, shared_rejected=shared)
            self._erase_from_clickhouse(connection, record, erased)
            erased.counts = records.counts(connection, record)
        return erased

    def _finish_moves(self, connection: Connection, subject: Subject) -> None:
        if subject.kind != "namespace":
            return
        try:
            mover = Mover(self.database_url, self.clickhouse_url)
            finish_moves(connection, mover, self.wait_seconds, self.progress)
        except MovesRemain as error:
            raise ErasureError(f"nothing was removed yet: {error}") from error
        except ClickHouseError as error:
            reason = clickhouse.reason_of(error)
            raise ErasureError(
                f"nothing was removed yet: events may wait to be moved in ClickHouse: {reason}"
            ) from error

    def _erase_from_postgresql(self, connection: Connection, record: Record) -> list[UUID]:
        """Deletes everything in PostgreSQL; returns the rejected events that stay because they concern others too."""
        delete_events(connection, record, _Counter(self.progress).add)
        # A sync that read an event before it was deleted may record that ClickHouse refuses it.
        wait_for_writers(connection, self.wait_seconds, self.progress)
        shared = delete_rejected(connection, record)
        delete_names(connection, record)
        records.postgresql_done(connection, record)
        return shared

    def _erase_from_clickhouse(self, connection: Connection, record: Record, erased: Erased) -> None:
        """Removes everything in ClickHouse; sets what became of it in `erased`."""
        try:
            if self.clickhouse_url is None:
                _require_never_copied(connection)
                delete_removed_keys(connection, record.within.subject)
                erased.clickhouse = "off"
            else:
                self._mutate(connection, record, self.clickhouse_url, erased)
                erased.clickhouse = "done"
        except ClickHouseError as error:
            erased.failure = clickhouse.reason_of(error)
        except (ErasureError, RowsRemain) as error:
            erased.failure = str(error)
        else:
            records.finish(connection, record, erased.clickhouse)

    def _mutate(self, connection: Connection, record: Record, url: str, erased: Erased) -> None:
        subject = record.within.subject
        with closing(clickhouse.connect(url, _MUTATION_SECONDS)) as client:
            with (
                self._locked(connection, locks.SYNC, "sync"),
                self._locked(connection, locks.ROLLUPS, "run that builds rollups"),
            ):
                self._copy_directory(connection, client)
                self._remove_rows(client, connection, record)
                delete_removed_keys(connection, subject)
            erased.old_parts_seconds = seconds_of_old_parts(client)

    def _copy_directory(self, connection: Connection, client: Client) -> None:
        """Removes from ClickHouse what PostgreSQL's directory no longer has of the subject, and the bytes of it."""
        if kept_directory.is_of_another(connection, client):
            raise ErasureError(
                "ClickHouse keeps the directory of another PostgreSQL: run `usage-events refill`, or drop the table "
                "ai_usage_directory"
            )
        if has_names(client):
            copy_names(connection, client, self.cluster)
        if kept_directory.has_copy(client):
            kept_directory.copy_directory(connection, client, self.cluster)
            kept_directory.remove_outdated(client, self.cluster, _MUTATION_SECONDS)

    def _remove_rows(self, client: Client, connection: Connection, record: Record) -> None:
        subject = record.within.subject
        if rebuild.is_under_way(client):
            raise ErasureError("the sync makes the table in ClickHouse anew and has not caught up yet")
        if not has_table(client):
            return
        number = count_events(client, subject)
        records.count_in_clickhouse(connection, record, number)
        self.progress(f"Removing {number:,} events from ClickHouse, which rewrites the parts that hold them.")
        removed = removed_events(connection, subject)
        changes = self._record_change(client, connection, subject)
        delete_in_clickhouse(client, subject, removed, self.cluster, _MUTATION_SECONDS)
        remaining = rollups.count_rows(client, subject)
        if remaining:
            raise RowsRemain(f"ClickHouse still has {remaining:,} rows of rollups of {subject}")
        confirm_changes(connection, changes)

    def _record_change(self, client: Client, connection: Connection, subject: Subject) -> list[int]:
        """Makes the rollups that hold the subject count no longer, and removes them; returns the recorded changes.

        The rollups go first: an erasure that is interrupted finds by the events which of them hold the subject.
        """
        days, target = rollups.days_of(client, subject), target_of(client)
        if target is None or not days:
            return []
        changes = record_change(connection, target, days)
        rollups.delete_rollups(client, days, self.cluster, _MUTATION_SECONDS)
        return changes

    @contextmanager
    def _locked(self, connection: Connection, lock: int, holder: str) -> Iterator[None]:
        """Holds an advisory lock within the block.

        Raises:
            ErasureError: another process holds the lock for too long.
        """
        try:
            with connection.transaction():
                connection.execute(_WAIT_LONG, [f"{self.wait_seconds:.3f}s"])
                connection.execute(_LOCK, [lock])
        except LockNotAvailable as error:
            raise ErasureError(f"another {holder} is still running after {self.wait_seconds:.0f} s") from error
        with advisory_lock_released(connection, lock):
            yield


def _require_never_copied(connection: Connection) -> None:
    if connection.execute(_WAS_COPIED).fetchone() == (True,):
        raise ErasureError(
            "events were copied to a ClickHouse, but CLICKHOUSE_URL is not set; if that ClickHouse is gone, empty the"
            " table sync_state"
        )


class _Counter:
    """Tells the progress of a deletion now and then."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._rows = self._told = 0

    def add(self, rows: int) -> None:
        """Counts deleted rows."""
        self._rows += rows
        if self._rows - self._told >= _ROWS_BETWEEN_MESSAGES:
            self._told = self._rows
            self._progress(f"{self._rows:,} events were removed from PostgreSQL …")
