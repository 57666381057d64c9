"""Copies to ClickHouse all rows beyond the cursor and below the watermark."""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.client import Client

from functions.shared import clickhouse, locks
from functions.shared.catalog import registry
from functions.shared.catalog.payload_type import leaf_paths
from functions.shared.postgres import Connection, TimeLimits, advisory_lock_released, connect, try_advisory_lock
from functions.shared.secret import UrlSource
from functions.shared.sync_state import Watermark, oldest_transaction, read_watermark
from functions.sync import rebuild, refused
from functions.sync.changed_days import ChangedDays, dates
from functions.sync.chunks import CHUNK_BYTES, PLANNER_OPTIONS, Chunk, copied_rows, id_of, position_of
from functions.sync.cursor import Cursor, forget_cursor, forget_cursors, has_lost_everything
from functions.sync.durability import make_durable
from functions.sync.error import SyncError
from functions.sync.kept_directory import leave_origin
from functions.sync.marks import ensure_marks
from functions.sync.migrations import PayloadPath
from functions.sync.rebuild import Rebuild
from functions.sync.refused import Refusal, insert_accepted
from functions.sync.report import Report
from functions.sync.table import RowRefused, ensure_table, insert

MAX_REFUSALS = 100
"""If a run has more refusals, the table is at fault rather than the rows."""

# One chunk is read and sent while ClickHouse inserts the two before it, each on a processor of its own. An insert also
# sorts, writes and waits for the disk or a quorum, so with one less a processor would wait with it.
_MAX_CHUNKS_IN_FLIGHT = 3

# Chunk size for finding refused rows.
_SMALL_CHUNK_BYTES = 4 * 1024 * 1024

# Extra time for a run's statements and connections beyond the run itself.
_GRACE_SECONDS = 10

# Time limit for operations that a person starts.
_LONG_SECONDS = 3600

_POLL_SECONDS = 0.2

_SECONDS_BEHIND = "SELECT extract(epoch FROM now() - caught_up_at) FROM sync_state WHERE target = %s"

_NEWEST_SECONDS_BEHIND = "SELECT extract(epoch FROM now() - max(caught_up_at)) FROM sync_state"


@dataclass(frozen=True, slots=True)
class Sync:
    """Copies events from PostgreSQL to ClickHouse.

    Attributes:
        cluster: cluster of the replicated table; None for a single server.
        declared: payload paths that get a column each; None for the paths of the definitions.
        progress: called after each chunk that ClickHouse has confirmed.
        durable: whether inserts wait for a quorum of replicas or for the disk of a single server.
    """

    database_url: UrlSource
    clickhouse_url: UrlSource
    cluster: str | None = None
    progress: Callable[[Report], None] = lambda _: None
    chunk_bytes: int = CHUNK_BYTES
    durable: bool = True
    declared: Collection[PayloadPath] | None = None

    def run(self, seconds: float) -> Report:
        """Copies until caught up or until about `seconds` have passed; returns at once if another sync is running.

        Raises:
            SyncError: PostgreSQL was restored, or ClickHouse refuses too many rows.
            psycopg.Error: the connection to PostgreSQL failed.
            ClickHouseError: the connection to ClickHouse failed, or a statement did.
        """
        deadline = time.monotonic() + seconds
        report = Report("out_of_time")
        with self._connect(seconds) as control:
            if not try_advisory_lock(control, locks.SYNC):
                return Report("skipped", seconds_behind=_seconds_of(control.execute(_NEWEST_SECONDS_BEHIND).fetchone()))
            with (
                advisory_lock_released(control, locks.SYNC),
                self._clickhouse(seconds) as client,
                self._connect(seconds) as reader,
            ):
                if not self._is_made_anew(control, client, report, deadline):
                    return report
                target = self._ensure_table(client)
                if has_lost_everything(control, client, target):
                    forget_cursor(control, target)
                cursor = Cursor.of_table(control, client, target)
                cursor.require_same_postgresql(client)
                changed = ChangedDays(control, target)
                copying = _SyncRun(self, control, client, cursor, changed, report, deadline)
                while copying.one_pass(reader):
                    pass
                changed.confirm()
                if report.status == "caught_up":
                    rebuild.drop_former(client, self.cluster)
                report.seconds_behind = _seconds_behind(control, target)
                report.record_oldest_transaction(oldest_transaction(control))
        return report

    def seconds_behind(self) -> float | None:
        """Returns how far ClickHouse is behind according to PostgreSQL; None during the first backfill.

        Raises:
            psycopg.Error: PostgreSQL can't be reached.
        """
        with self._connect(_GRACE_SECONDS) as connection:
            row = connection.execute(_NEWEST_SECONDS_BEHIND).fetchone()
        return _seconds_of(row)

    def reset(self, wait_seconds: float) -> int:
        """Makes the next run start from the first row, also after PostgreSQL was restored.

        Returns:
            Number of rows that had a transaction id in this server's future; they got a new one.

        Raises:
            SyncError: another sync does not end within `wait_seconds`.
            ClickHouseError: the connection to ClickHouse failed.
        """
        with self._connect(_LONG_SECONDS) as control, self._clickhouse(_LONG_SECONDS) as client:
            _wait_for_lock(control, wait_seconds)
            with advisory_lock_released(control, locks.SYNC):
                with control.transaction():
                    leave_origin(control, client)
                return forget_cursors(control)

    def replay(self, wait_seconds: float) -> tuple[int, int]:
        """Inserts the rows again that ClickHouse refused.

        Returns:
            Number of rows that ClickHouse accepted, and number that it refused again.

        Raises:
            SyncError: another sync does not end within `wait_seconds`.
        """
        with self._connect(_LONG_SECONDS) as control, self._clickhouse(_LONG_SECONDS) as client:
            _wait_for_lock(control, wait_seconds)
            with advisory_lock_released(control, locks.SYNC):
                if rebuild.is_needed(client):
                    raise SyncError("the table in ClickHouse has to be made anew first: run `usage-events sync`")
                cursor = Cursor.of_table(control, client, self._ensure_table(client))
                cursor.require_same_postgresql(client)
                changed = ChangedDays(control, cursor.target)
                result = refused.replay(control, client, cursor.epoch, changed)
                changed.confirm()
                return result

    def _connect(self, seconds: float) -> Connection:
        limit = int(seconds) + _GRACE_SECONDS
        options = f"{PLANNER_OPTIONS} -c idle_session_timeout={limit}s"  # a frozen function must not keep the lock
        return connect(self.database_url, TimeLimits(statement=limit, transaction=limit), options)

    def _clickhouse(self, seconds: float) -> closing[Client]:
        return closing(clickhouse.connect(self.clickhouse_url, seconds + _GRACE_SECONDS))

    def _is_made_anew(self, control: Connection, client: Client, report: Report, deadline: float) -> bool:
        """Makes a table without versions anew; returns whether the table has versions now."""

        def progress(state: rebuild.Progress) -> None:
            report.history_rows, report.reason = state.rows, str(state)
            self.progress(report)

        rebuild.finish_rename(client, self.cluster)
        if not rebuild.is_needed(client):
            return True
        report.status = "migrating"
        paths = self._declared_paths()
        if not Rebuild(client, control, self.cluster, paths, self.durable, deadline, progress).run():
            return False
        report.status, report.reason = "out_of_time", ""
        return True

    def _ensure_table(self, client: Client) -> UUID:
        target = ensure_table(client, self.cluster, self._declared_paths())
        make_durable(client, durable=self.durable)
        ensure_marks(client, self.cluster, durable=self.durable)
        return target

    def _declared_paths(self) -> Collection[PayloadPath]:
        return list(leaf_paths(registry.load().payload_types)) if self.declared is None else self.declared


@dataclass(frozen=True, slots=True)
class _SyncRun:
    """One run of a sync, which holds the lock."""

    sync: Sync
    control: Connection
    client: Client
    cursor: Cursor
    changed: ChangedDays
    report: Report
    deadline: float

    def one_pass(self, reader: Connection) -> bool:
        """Copies all rows below the current watermark; returns whether another pass is worthwhile."""
        watermark = read_watermark(self.control)
        chunks_before = self.report.chunks
        try:
            self._stream(reader, watermark)
        except RowRefused:
            self._isolate_refused_rows(reader, watermark)
            return True
        if time.monotonic() >= self.deadline:
            self.report.status = "out_of_time"
            return False
        self.cursor.record_caught_up(watermark)
        self.report.status = "caught_up"
        return self.report.chunks > chunks_before + 1

    def _stream(self, reader: Connection, watermark: Watermark) -> None:
        """Inserts chunk after chunk; moves the cursor past each chunk that ClickHouse has confirmed.

        Raises:
            RowRefused: ClickHouse refused a row; the cursor is before its chunk.
        """
        pending: deque[tuple[Chunk, Future[None]]] = deque()
        with (
            copied_rows(reader, self.cursor.epoch, self.cursor.read(), watermark) as stream,
            ThreadPoolExecutor(_MAX_CHUNKS_IN_FLIGHT) as pool,
        ):
            if stream.has_more:
                self.cursor.mark(self.client)
            while stream.has_more and time.monotonic() < self.deadline:
                chunk = Chunk(stream, self.sync.chunk_bytes)
                inserted = pool.submit(insert, self.client, chunk.until_released())
                inserted.add_done_callback(chunk.give_up_reading)
                pending.append((chunk, inserted))
                self._release(chunk)
                if inserted.done() and inserted.exception() is not None:
                    break
                # Later rows of an event must not be seen before its removed keys are.
                while len(pending) == _MAX_CHUNKS_IN_FLIGHT or (chunk.removed_keys and pending):
                    self._confirm(*pending.popleft())
            while pending:
                self._confirm(*pending.popleft())

    def _release(self, chunk: Chunk) -> None:
        """Waits until the chunk was read, records its days, and lets the insert end."""
        try:
            chunk.was_read.wait()
            self.changed.record(dates(chunk.days))
        except BaseException:
            chunk.abandon()  # the insert's thread would wait for ever
            raise
        chunk.release()

    def _confirm(self, chunk: Chunk, inserted: Future[None]) -> None:
        inserted.result()
        self._move_cursor(chunk)

    def _isolate_refused_rows(self, reader: Connection, watermark: Watermark) -> None:
        """Continues from the cursor in small chunks, up to the first one with refused rows."""
        refusals: list[Refusal] = []
        while not refusals and time.monotonic() < self.deadline:
            with copied_rows(reader, self.cursor.epoch, self.cursor.read(), watermark) as stream:
                if not stream.has_more:
                    return
                chunk = Chunk(stream, _SMALL_CHUNK_BYTES)
                rows = b"".join(chunk).splitlines(keepends=True)
                self.changed.record(dates(chunk.days))
            refusals = self._refusals(rows)
            self._move_cursor(chunk, refusals)

    def _refusals(self, rows: Sequence[bytes]) -> list[Refusal]:
        """Inserts the rows that ClickHouse accepts, and returns the refused ones."""
        refusals = []
        for refusal in insert_accepted(self.client, rows):
            refusals.append(refusal)
            if self.report.refused + len(refusals) > MAX_REFUSALS:
                example = f"the event {id_of(refusal.row)}: {refusal.reason}"
                raise SyncError(f"ClickHouse refuses more than {MAX_REFUSALS} rows, like {example}")
        return refusals

    def _move_cursor(self, chunk: Chunk, refusals: Sequence[Refusal] = ()) -> None:
        with self.control.transaction():
            refused.record(self.control, refusals)
            self.cursor.move(position_of(chunk.last), past_removed_keys=chunk.may_have_removed_keys)
        self.report.rows += chunk.rows - len(refusals)
        self.report.removed_keys += chunk.removed_keys
        self.report.chunks += 1
        self.report.bytes += chunk.bytes
        self.report.refused += len(refusals)
        self.report.record_refused(id_of(refusal.row) for refusal in refusals)
        self.sync.progress(self.report)


def _wait_for_lock(connection: Connection, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not try_advisory_lock(connection, locks.SYNC):
        if time.monotonic() > give_up:
            raise SyncError(f"another sync is still running after {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def _seconds_behind(connection: Connection, target: UUID) -> float | None:
    return _seconds_of(connection.execute(_SECONDS_BEHIND, [str(target)]).fetchone())


def _seconds_of(row: tuple[Any, ...] | None) -> float | None:
    return round(float(row[0]), 3) if row and row[0] is not None else None
