"""Fills a PostgreSQL from ClickHouse that is new, or was put back to an earlier moment.

It may be interrupted at any point; the next run goes on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql
from psycopg.errors import LockNotAvailable

from functions.shared import clickhouse, locks
from functions.shared.clickhouse import readable_target_of
from functions.shared.directory_lock import exclusive_directory_lock
from functions.shared.partitions import partition_name, partitions
from functions.shared.postgres import Connection, TimeLimits, advisory_lock_released, connect
from functions.sync.cursor import forget_cursors, next_epoch
from functions.sync.kept_directory import was_put_back
from infra.operations.refill import record as records
from infra.operations.refill.directory import KeptDirectory, tables_with_rows
from infra.operations.refill.error import RefillError
from infra.operations.refill.kept_events import Excluded, KeptEvents
from infra.operations.refill.lost_events import LostEvents
from infra.operations.refill.merged_directory import Merging
from infra.operations.refill.month import Month
from infra.operations.refill.record import Record
from infra.operations.refill.thresholds import Translation, thresholds_of, translated_version

_POLL_SECONDS = 0.2
_RUN_SECONDS = 24 * 60 * 60

_LOCK = "SELECT pg_advisory_lock(%s)"

_IS_MIGRATED = "SELECT to_regclass('refilled_months') IS NOT NULL"

_HAS_EVENTS = "SELECT EXISTS (SELECT FROM ai_usage_events)"

_TAKE_NUMBER = "SELECT pg_current_xact_id()::text::bigint"

_OLDEST_OPEN = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

_TRANSLATE_MOVE = """
    UPDATE namespace_moves
    SET before_xact = %(before)s::text::xid8, late_xacts = %(late)s::text[]::xid8[]
    WHERE number = %(number)s
"""

# ClickHouse may have the events where they were before.
_REPEAT_MOVES = """
    UPDATE namespace_moves
    SET opened = opened + 1, done_at = NULL
    WHERE done_at > coalesce(%s, '-infinity')
"""

_UNFINISHED_ERASURES = """
    SELECT DISTINCT kind, subject, clickhouse = 'done'
    FROM erasures
    WHERE finished_at IS NULL AND subject IS NOT NULL
"""

_IS_RESTORED = "The directory is restored: functions may use this database from now on."

_ANALYZE = sql.SQL("ANALYZE {table}")


class Refilled(msgspec.Struct):
    """What a run found or did.

    Attributes:
        is_put_back: whether the database has events, and was put back to an earlier moment.
        directory_rows: number of rows of the directory that are restored, by table.
        complete_to: everything committed before was copied from the lost PostgreSQL; None if unknown.
        events: by month, number of events in ClickHouse that PostgreSQL lacked when the run began.
        added: number of events that this run added.
        differing: number of events that both stores have, and that stay as PostgreSQL has them.
        was_finished: whether an earlier run had finished, so that there was nothing to do.
        unfinished_erasures: users and namespaces whose erasure must be repeated: it was interrupted, or PostgreSQL has
            again what it removed.
        forgotten_erasures: number of erasures of users that must be repeated too, but no longer tell of whom. Known to
            the run that restores the directory, and to a dry run before.
        erased_users: users whom only PostgreSQL knows, if there are such erasures.
    """

    directory_rows: dict[str, int]
    is_put_back: bool = False
    complete_to: datetime | None = None
    events: dict[date, int] = {}
    added: int = 0
    differing: int = 0
    was_finished: bool = False
    unfinished_erasures: list[str] = []
    forgotten_erasures: int = 0
    erased_users: list[int] = []


@dataclass(frozen=True, slots=True)
class Refill:
    """The stores of a refill.

    Attributes:
        progress: called with sentences about what goes on.
        wait_seconds: longest wait for a running sync, for another refill, and for open transactions.
    """

    database_url: str
    clickhouse_url: str
    progress: Callable[[str], None] = lambda _: None
    wait_seconds: float = 60

    def run(self, *, dry_run: bool = False) -> Refilled:
        """Restores the directory in one transaction, and then the events, the newest month first.

        A database that was put back gets what it lacks, and keeps what it has. No sync runs meanwhile.

        Raises:
            RefillError: the database is not migrated, or neither empty nor put back; ClickHouse lacks what is needed;
                or another process holds a lock for too long.
            psycopg.Error: the connection to PostgreSQL failed.
            ClickHouseError: the connection to ClickHouse failed, or a statement did.
        """
        limits, options = TimeLimits(_RUN_SECONDS, _RUN_SECONDS), f"-c lock_timeout={self.wait_seconds:.0f}s"
        with (
            connect(self.database_url, limits, options) as connection,
            closing(clickhouse.connect(self.clickhouse_url, _RUN_SECONDS)) as client,
        ):
            _require_migrated(connection)
            with _locked(connection, locks.REFILL, "refill"), _locked(connection, locks.ERASURE, "erasure"):
                return self._run(connection, client, dry_run=dry_run)

    def _run(self, connection: Connection, client: Client, *, dry_run: bool) -> Refilled:
        kept, known = KeptDirectory(client), records.read(connection)
        unfinished = known[-1] if known and known[-1].finished_at is None else None
        if unfinished.is_of_put_back if unfinished else was_put_back(connection, client):
            refilled = self._refill_put_back(connection, client, kept, dry_run=dry_run)
        else:
            refilled = self._refill_new(connection, client, kept, known, dry_run=dry_run)
        if not dry_run and was_put_back(connection, client):  # to a moment at which a refill was not finished
            again = self._refill_put_back(connection, client, kept, dry_run=False)
            again.added += refilled.added
            return again
        return refilled

    def _refill_new(
        self, connection: Connection, client: Client, kept: KeptDirectory, known: list[Record], *, dry_run: bool
    ) -> Refilled:
        refilled = Refilled(kept.counts)
        if not known:
            _require_copy(client, kept)
            _require_empty(connection)
            record = _planned(client, kept, thresholds_of((before, late) for _, before, late in _moves(kept)))
            if not dry_run:
                self.progress(f"Restoring {sum(kept.counts.values()):,} rows of the directory …")
                self._begin(connection, kept, record)
                self.progress(_IS_RESTORED)
            known = [*_earlier(kept), record] if dry_run else records.read(connection)
        elif known[-1].finished_at is not None:
            refilled.was_finished = True
        record, refilled.complete_to = known[-1], known[-1].complete_to
        excluded, refilled.unfinished_erasures = _erasures(connection, kept)
        events = _kept_events(client, known, excluded)
        if not refilled.was_finished:
            for month in _months(connection):
                self._fill(Month(connection, events, month, record), refilled, dry_run=dry_run)
            if not dry_run:
                records.finish(connection, record)
        return refilled

    def _refill_put_back(
        self, connection: Connection, client: Client, kept: KeptDirectory, *, dry_run: bool
    ) -> Refilled:
        refilled, known = Refilled({}, is_put_back=True), records.read(connection)
        with _locked(connection, locks.SYNC, "sync"):
            excluded, refilled.unfinished_erasures = _erasures(connection, kept)
            if not known or known[-1].finished_at is not None:
                record = self._merge(connection, client, kept, excluded, refilled, dry_run=dry_run)
                known = [*known, record] if dry_run else records.read(connection)
            record, refilled.complete_to = known[-1], known[-1].complete_to
            events = _kept_events(client, known, excluded)
            if not dry_run:
                self._use_up_numbers(connection, record.last_xact)
            for month in _months(connection):
                self._bring(LostEvents(connection, events, month, record), refilled, dry_run=dry_run)
            if not dry_run:
                records.finish(connection, record)
        return refilled

    def _merge(
        self,
        connection: Connection,
        client: Client,
        kept: KeptDirectory,
        excluded: Excluded,
        refilled: Refilled,
        *,
        dry_run: bool,
    ) -> Record:
        """Restores what the directory lacks, and records the refill, in one transaction; a dry run undoes it."""
        self.progress("Comparing the directory …")
        with connection.transaction(force_rollback=dry_run):
            forget_cursors(connection)
            with exclusive_directory_lock(connection):
                merging = Merging.of(connection, kept, excluded)
                moves = merging.moves()
                thresholds = thresholds_of((move.before, move.late) for move in moves)
                base = _number(connection, _TAKE_NUMBER)
                record = _planned(client, kept, thresholds, base, records.read(connection))
                refilled.forgotten_erasures, refilled.erased_users = merging.forgotten_erasures()
                refilled.directory_rows = merging.merge(moves, record.translation)
                records.begin(connection, record)
                _, refilled.unfinished_erasures = _erasures(connection, kept)
        if not dry_run:
            self.progress(_IS_RESTORED)
        return record

    def _begin(self, connection: Connection, kept: KeptDirectory, record: Record) -> None:
        """Restores the directory, and records the refill, in one transaction; no sync runs meanwhile."""
        with _locked(connection, locks.SYNC, "sync"):
            self._use_up_numbers(connection, record.last_xact)
            with connection.transaction():
                _require_empty(connection)
                kept.restore(connection)
                _translate_moves(connection, kept, record.translation)
                connection.execute(_REPEAT_MOVES, [record.complete_to])
                records.begin(connection, record)

    def _use_up_numbers(self, connection: Connection, last: int) -> None:
        """Makes the server's transactions have greater numbers than the refilled rows; waits for those that have not.

        Raises:
            RefillError: one of these does not end.
        """
        while _number(connection, _TAKE_NUMBER) <= last:
            pass
        give_up = time.monotonic() + self.wait_seconds
        while _number(connection, _OLDEST_OPEN) <= last:
            if time.monotonic() > give_up:
                raise RefillError("a transaction of the server does not end: pg_stat_activity names it")
            time.sleep(_POLL_SECONDS)

    def _fill(self, month: Month, refilled: Refilled, *, dry_run: bool) -> None:
        """Fills one month, or only counts its events."""
        steps = list(month.steps())
        refilled.events[month.month] = events = sum(step.events for step in steps)
        if dry_run or not steps:
            return
        done = 0
        for step in steps:
            refilled.added += month.fill(step)
            done += step.events
            self.progress(f"{month.month:%Y-%m}: {done:,} of {events:,} events …")
        _analyze(month.connection, month.month)

    def _bring(self, month: LostEvents, refilled: Refilled, *, dry_run: bool) -> None:
        """Brings what a month of PostgreSQL lacks, or only counts it."""
        self.progress(f"{month.month:%Y-%m}: comparing both stores …")
        refilled.events[month.month] = 0
        for start, end in month.ranges():
            found = month.count(start, end) if dry_run else month.bring(start, end)
            refilled.events[month.month] += found.lost
            refilled.differing += found.differing
            self.progress(f"{month.month:%Y-%m}: {refilled.events[month.month]:,} events …")
        if dry_run or not refilled.events[month.month]:
            return
        refilled.added += refilled.events[month.month]
        _analyze(month.connection, month.month)


def _require_migrated(connection: Connection) -> None:
    if connection.execute(_IS_MIGRATED).fetchone() != (True,) or not partitions(connection):
        raise RefillError("the database is not migrated: run `usage-events migrate`")


def _planned(
    client: Client, kept: KeptDirectory, thresholds: list[int], base: int = 0, known: Sequence[Record] = ()
) -> Record:
    """Returns what a refill of a database is to record.

    Args:
        base: number after which those of refilled rows begin.
        known: refills that the database knows of.
    """
    target = _require_copy(client, kept)
    complete = [row["caught_up_at"] for row in kept.rows("sync_state") if row["target"] == str(target)]
    epoch = next_epoch(client, target, (one.epoch for one in (*_earlier(kept), *known)))
    return Record(
        epoch=epoch,
        target=str(target),
        thresholds=thresholds,
        last_xact=Translation(epoch, thresholds, base).last,
        complete_to=datetime.fromisoformat(complete[0]) if complete and complete[0] else None,
        base_xact=base,
    )


def _require_copy(client: Client, kept: KeptDirectory) -> UUID:
    """Returns the id of ClickHouse's table of events.

    Raises:
        RefillError: ClickHouse is not as it must be.
    """
    target = readable_target_of(client)
    if target is None:
        raise RefillError("ClickHouse has no table of events")
    if not kept.is_whole:
        raise RefillError("ClickHouse keeps no whole copy of a directory: the sync has never finished one")
    return target


def _kept_events(client: Client, known: Sequence[Record], excluded: Excluded) -> KeptEvents:
    """Returns the events that the last of these refills brings, numbered as after all of them.

    Raises:
        RefillError: ClickHouse has another table of events.
    """
    record = known[-1]
    if str(readable_target_of(client)) != record.target:
        raise RefillError("ClickHouse has another table of events than the refill began with")
    return KeptEvents(client, record.epoch, translated_version([one.translation for one in known]), excluded)


def _require_empty(connection: Connection) -> None:
    names = tables_with_rows(connection)
    if connection.execute(_HAS_EVENTS).fetchone() == (True,):
        names.insert(0, "ai_usage_events")
    if names:
        raise RefillError(
            f"the database is not empty: {', '.join(names)} have rows; a refill needs a new database, which no function"
            " uses yet"
        )


def _number(connection: Connection, statement: LiteralString) -> int:
    return int(connection.execute(statement).fetchall()[0][0])


def _translate_moves(connection: Connection, kept: KeptDirectory, translation: Translation) -> None:
    moves = [
        {"number": number, "before": translation.of(before), "late": [str(translation.of(one)) for one in late]}
        for number, before, late in _moves(kept)
    ]
    connection.cursor().executemany(_TRANSLATE_MOVE, moves)


def _moves(kept: KeptDirectory) -> list[tuple[int, int, Sequence[int]]]:
    """Returns number, `before_xact` and `late_xacts` of each move."""
    rows = kept.rows("namespace_moves")
    return [(row["number"], int(row["before_xact"]), [int(one) for one in row["late_xacts"]]) for row in rows]


def _earlier(kept: KeptDirectory) -> list[Record]:
    """Returns the refills of databases that were lost before."""
    return sorted((msgspec.convert(row, Record) for row in kept.rows("refills")), key=lambda record: record.epoch)


def _erasures(connection: Connection, kept: KeptDirectory) -> tuple[Excluded, list[str]]:
    """Returns whose events ClickHouse may have although they were to be erased, and which erasures must be repeated."""
    found: list[tuple[str, str, bool]] = connection.execute(_UNFINISHED_ERASURES).fetchall()
    rows = kept.rows("erasures")
    found += [
        (row["kind"], row["subject"], row["clickhouse"] == "done")
        for row in rows
        if not row["finished_at"] and row["subject"]
    ]
    users = {int(subject) for kind, subject, is_done in found if kind == "user" and not is_done}
    paths = {subject for kind, subject, is_done in found if kind == "namespace" and not is_done}
    repeated = {(kind != "user", f"{kind} {subject}") for kind, subject, _ in found}
    return Excluded(sorted(users), sorted(paths)), [text for _, text in sorted(repeated)]


def _months(connection: Connection) -> list[date]:
    """Returns the months that PostgreSQL keeps, newest first."""
    return [date(int(name[-6:-2]), int(name[-2:]), 1) for name in reversed(partitions(connection))]


def _analyze(connection: Connection, month: date) -> None:
    connection.execute(_ANALYZE.format(table=sql.Identifier(partition_name(month))))


@contextmanager
def _locked(connection: Connection, lock: int, holder: str) -> Iterator[None]:
    """Holds an advisory lock within the block.

    Raises:
        RefillError: another process holds the lock for too long.
    """
    try:
        connection.execute(_LOCK, [lock])
    except LockNotAvailable as error:
        raise RefillError(f"another {holder} does not end") from error
    with advisory_lock_released(connection, lock):
        yield
