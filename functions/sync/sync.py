"""The sync: copies to ClickHouse what is beyond the cursor and below the watermark."""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.shared import clickhouse, locks
from functions.shared.catalog import registry
from functions.shared.catalog.payload_type import leaf_paths
from functions.shared.partitions import partitions
from functions.shared.postgres import Connection, TimeLimits, connect, unlocked_afterwards
from functions.shared.sync_state import (
    BEGINNING,
    Position,
    Watermark,
    foreign_position,
    oldest_transaction,
    read_state,
    read_watermark,
)
from functions.sync import refused
from functions.sync.chunks import CHUNK_BYTES, PLANNER_OPTIONS, Chunk, copied_rows, id_of, timestamp_of
from functions.sync.durability import make_durable
from functions.sync.migrations import PayloadPath
from functions.sync.refused import Refusal, insert_others
from functions.sync.report import Report
from functions.sync.table import RowRefused, ensure_table, insert

MOST_REFUSALS = 100
"""More of them in one run mean that something is wrong with the table, not with the rows."""

# One chunk is on its way while ClickHouse works on the one before.
_IN_FLIGHT = 2

# Of the chunks in which a row is looked for that ClickHouse refuses.
_NARROW_CHUNK_BYTES = 4 * 1024 * 1024

# Held by one sync at a time; nothing else locks this number.

# How much longer than a run its statements and connections may last.
_GRACE_SECONDS = 10

# For what is asked for by a person.
_LONG_SECONDS = 3600

_POLL_SECONDS = 0.2

_TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"

# The row is looked up for its transaction, which is no column of ClickHouse's. One that the retention has meanwhile put
# before the sync once more is no place to go on from: there are others before it.
_MOVE_CURSOR = """
    INSERT INTO sync_state (target, xact_id, id, updated_at)
    SELECT %(target)s, xact_id, id, now()
    FROM ai_usage_events
    WHERE id = %(id)s AND timestamp = %(timestamp)s::timestamptz AND xact_id < %(watermark)s::xid8
    ON CONFLICT (target) DO UPDATE
    SET xact_id = excluded.xact_id, id = excluded.id, updated_at = excluded.updated_at
"""

_CAUGHT_UP = """
    INSERT INTO sync_state (target, xact_id, id, updated_at, caught_up_at)
    VALUES (%(target)s, %(xact_id)s, %(id)s, now(), coalesce(%(caught_up_at)s, now()))
    ON CONFLICT (target) DO UPDATE
    SET updated_at = excluded.updated_at,
        caught_up_at = coalesce(greatest(sync_state.caught_up_at, %(caught_up_at)s), excluded.caught_up_at)
"""

# Greater than any transaction's number, so that every run from now on sees that PostgreSQL was restored.
_MARK_RESTORED = """
    INSERT INTO sync_state (target, xact_id, id, updated_at)
    VALUES (%s, '18446744073709551615', gen_random_uuid(), now())
    ON CONFLICT (target) DO UPDATE
    SET xact_id = excluded.xact_id, updated_at = excluded.updated_at, caught_up_at = NULL
"""

_SECONDS_BEHIND = "SELECT extract(epoch FROM now() - caught_up_at) FROM sync_state WHERE target = %s"

_NEWEST_SECONDS_BEHIND = "SELECT extract(epoch FROM now() - max(caught_up_at)) FROM sync_state"

_REWRITE = sql.SQL("UPDATE {partition} SET xact_id = pg_current_xact_id() WHERE xact_id >= pg_current_xact_id()")

_FORGET = "DELETE FROM sync_state"


class SyncError(Exception):
    """A sync that can't go on; the message says why. The cursor is where the last confirmed chunk ended."""


@dataclass(frozen=True, slots=True)
class Sync:
    """What copies events from PostgreSQL to ClickHouse.

    Attributes:
        cluster: the cluster that the table is made on; None for a single server.
        declared: the paths in payloads that get a column each; None for those of the definitions.
        progress: is told of each chunk that ClickHouse has confirmed.
        durable: whether ClickHouse confirms only what a quorum of replicas has, or what is on a single server's disk.
    """

    database_url: str
    clickhouse_url: str
    cluster: str | None = None
    progress: Callable[[Report], None] = lambda _: None
    chunk_bytes: int = CHUNK_BYTES
    durable: bool = True
    declared: Collection[PayloadPath] | None = None

    def run(self, seconds: float) -> Report:
        """Copies until it has caught up, or about `seconds` have passed; does nothing where another sync is running.

        Raises:
            SyncError: PostgreSQL was restored, or ClickHouse refuses too many rows.
            psycopg.Error: PostgreSQL went away.
            ClickHouseError: ClickHouse did.
        """
        deadline = time.monotonic() + seconds
        report = Report("out_of_time")
        with self._connect(seconds) as control:
            if not _is_locked(control):
                return Report("skipped", seconds_behind=_rounded(control.execute(_NEWEST_SECONDS_BEHIND).fetchone()))
            with (
                unlocked_afterwards(control, locks.SYNC),
                self._clickhouse(seconds) as client,
                self._connect(seconds) as reader,
            ):
                target = self._ensure_table(client)
                copying = _Copying(self, control, client, target, report, deadline)
                while copying.one_pass(reader):
                    pass
                report.seconds_behind = _seconds_behind(control, target)
                report.note_oldest(oldest_transaction(control))
        return report

    def seconds_behind(self) -> float | None:
        """How far behind ClickHouse is, as far as PostgreSQL knows; None in the first backfill.

        Raises:
            psycopg.Error: PostgreSQL can't be reached.
        """
        with self._connect(_GRACE_SECONDS) as connection:
            row = connection.execute(_NEWEST_SECONDS_BEHIND).fetchone()
        return _rounded(row)

    def reset(self, wait_seconds: float) -> int:
        """Makes the next run start from the first row, also in a PostgreSQL that was restored from another.

        Returns:
            How many rows bore a transaction that this PostgreSQL has not come to yet; they bear ours now.

        Raises:
            SyncError: another sync does not end within `wait_seconds`.
        """
        with self._connect(_LONG_SECONDS) as control:
            _wait_for_lock(control, wait_seconds)
            with unlocked_afterwards(control, locks.SYNC):
                statements = [_REWRITE.format(partition=sql.Identifier(name)) for name in partitions(control)]
                rewritten = sum(control.execute(statement).rowcount for statement in statements)
                control.execute(_FORGET)
        return rewritten

    def replay(self, wait_seconds: float) -> tuple[int, int]:
        """Tries the rows again that ClickHouse refused.

        Returns:
            How many ClickHouse took, and how many it refused again.

        Raises:
            SyncError: another sync does not end within `wait_seconds`.
        """
        with self._connect(_LONG_SECONDS) as control, self._clickhouse(_LONG_SECONDS) as client:
            _wait_for_lock(control, wait_seconds)
            with unlocked_afterwards(control, locks.SYNC):
                self._ensure_table(client)
                return refused.replay(control, client)

    def _connect(self, seconds: float) -> Connection:
        limit = int(seconds) + _GRACE_SECONDS
        options = f"{PLANNER_OPTIONS} -c idle_session_timeout={limit}s"  # a frozen function must not keep the lock
        return connect(self.database_url, TimeLimits(statement=limit, transaction=limit), options)

    def _clickhouse(self, seconds: float) -> closing[Client]:
        return closing(clickhouse.connect(self.clickhouse_url, seconds + _GRACE_SECONDS))

    def _ensure_table(self, client: Client) -> UUID:
        declared = leaf_paths(registry.load().payload_types) if self.declared is None else self.declared
        target = ensure_table(client, self.cluster, declared)
        make_durable(client, durable=self.durable)
        return target


@dataclass(frozen=True, slots=True)
class _Copying:
    """A run that holds the lock."""

    sync: Sync
    control: Connection
    client: Client
    target: UUID
    report: Report
    deadline: float

    def one_pass(self, reader: Connection) -> bool:
        """Copies what is below the watermark of this moment; returns whether it is worth while to look again."""
        watermark = read_watermark(self.control)
        chunks_before = self.report.chunks
        try:
            self._stream(reader, watermark)
        except RowRefused:
            self._narrow(reader, watermark)
            return True
        if time.monotonic() >= self.deadline:
            self.report.status = "out_of_time"
            return False
        values = {"target": str(self.target), "caught_up_at": watermark.complete_until} | BEGINNING.values()
        self.control.execute(_CAUGHT_UP, values)
        self.report.status = "caught_up"
        return self.report.chunks > chunks_before + 1

    def _stream(self, reader: Connection, watermark: Watermark) -> None:
        """Inserts chunk after chunk, and moves the cursor behind each once ClickHouse has confirmed it.

        Raises:
            RowRefused: a chunk holds a row that ClickHouse can't take; the cursor is before that chunk.
        """
        pending: deque[tuple[Chunk, Future[None]]] = deque()
        with (
            copied_rows(reader, self._cursor(), watermark) as stream,
            ThreadPoolExecutor(_IN_FLIGHT) as pool,
        ):
            while stream.has_more and time.monotonic() < self.deadline:
                chunk = Chunk(stream, self.sync.chunk_bytes)
                inserted = pool.submit(insert, self.client, chunk)
                inserted.add_done_callback(chunk.give_up_reading)
                pending.append((chunk, inserted))
                chunk.was_read.wait()
                if inserted.done() and inserted.exception() is not None:
                    break
                if len(pending) == _IN_FLIGHT:
                    self._confirm(*pending.popleft(), watermark)
            while pending:
                self._confirm(*pending.popleft(), watermark)

    def _confirm(self, chunk: Chunk, inserted: Future[None], watermark: Watermark) -> None:
        inserted.result()
        self._move_cursor(chunk, watermark)

    def _narrow(self, reader: Connection, watermark: Watermark) -> None:
        """Goes on from the cursor by small chunks, up to the first with rows that ClickHouse refuses."""
        refusals: list[Refusal] = []
        while not refusals and time.monotonic() < self.deadline:
            with copied_rows(reader, self._cursor(), watermark) as stream:
                if not stream.has_more:
                    return
                chunk = Chunk(stream, _NARROW_CHUNK_BYTES)
                rows = b"".join(chunk).splitlines(keepends=True)
            refusals = self._refusals(rows)
            self._move_cursor(chunk, watermark, refusals)

    def _refusals(self, rows: Sequence[bytes]) -> list[Refusal]:
        """Inserts all rows but those that ClickHouse refuses, and returns these."""
        refusals = []
        for refusal in insert_others(self.client, rows):
            refusals.append(refusal)
            if self.report.refused + len(refusals) > MOST_REFUSALS:
                example = f"the event {id_of(refusal.row)}: {refusal.reason}"
                raise SyncError(f"ClickHouse refuses more than {MOST_REFUSALS} rows, like {example}")
        return refusals

    def _cursor(self) -> Position:
        """The cursor, unless it is, or rows are, another PostgreSQL's: rows behind it would never be copied."""
        cursor = read_state(self.control, self.target).cursor
        foreign = foreign_position(self.control, cursor)
        if foreign is not None:
            self.control.execute(_MARK_RESTORED, [str(self.target)])
            raise SyncError(
                "PostgreSQL was restored from another, which had come further than it: `usage-events sync --reset` "
                "starts from the first row"
            )
        return cursor

    def _move_cursor(self, chunk: Chunk, watermark: Watermark, refusals: Sequence[Refusal] = ()) -> None:
        values = {
            "target": str(self.target),
            "id": id_of(chunk.last),
            "timestamp": timestamp_of(chunk.last),
            "watermark": str(watermark.xact_id),
        }
        with self.control.transaction():
            refused.record(self.control, refusals)
            if self.control.execute(_MOVE_CURSOR, values).rowcount != 1:
                raise SyncError(f"the event {id_of(chunk.last)} was moved while it was copied; the next run copies it")
        self.report.rows += chunk.rows - len(refusals)
        self.report.chunks += 1
        self.report.bytes += chunk.bytes
        self.report.refused += len(refusals)
        self.report.note_refused(id_of(refusal.row) for refusal in refusals)
        self.sync.progress(self.report)


def _is_locked(connection: Connection) -> bool:
    """Whether the connection holds the lock now, until it gives it up or is closed."""
    row = connection.execute(_TRY_LOCK, [locks.SYNC]).fetchone()
    return row is not None and row[0] is True


def _wait_for_lock(connection: Connection, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not _is_locked(connection):
        if time.monotonic() > give_up:
            raise SyncError(f"another sync has been running for {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def _seconds_behind(connection: Connection, target: UUID) -> float | None:
    return _rounded(connection.execute(_SECONDS_BEHIND, [str(target)]).fetchone())


def _rounded(row: tuple[Any, ...] | None) -> float | None:
    return round(float(row[0]), 3) if row and row[0] is not None else None
