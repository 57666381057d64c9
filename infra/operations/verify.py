"""Compares what was copied to ClickHouse with PostgreSQL, event by event, and mends what differs."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client
from psycopg import sql
from psycopg.errors import LockNotAvailable

from functions.retention.comparison import first_kept_day
from functions.shared import locks
from functions.shared.clickhouse import readable_target_of
from functions.shared.counted import counted
from functions.shared.directory_lock import shared_directory_lock
from functions.shared.partitions import later_month, partition_name, partitions
from functions.shared.postgres import Connection, advisory_lock_released
from functions.shared.sync_state import SyncPosition, foreign_position, read_state
from functions.sync.error import SyncError
from functions.sync.kept_directory import is_of_another
from functions.sync.marks import START_ANEW, replacement
from infra.operations.month_contents import Contents, Key, MonthContents, are_same, differing_minutes
from infra.operations.refill.record import is_unfinished

MAX_NAMED_IDS = 10

_LOCK = "SELECT pg_advisory_lock(%s)"

_COPY_AGAIN = sql.SQL("UPDATE {table} SET id = id WHERE id = ANY(%s)")

# The lock keeps the retention from dropping the partition: the events of a month that PostgreSQL no longer has must not
# be removed from ClickHouse.
_KEEP_PARTITION = sql.SQL("LOCK TABLE ONLY ai_usage_events, {table} IN ACCESS SHARE MODE")

# The mover leaves events alone that changed after their namespace has moved.
_OPEN_MOVES = "SELECT EXISTS (SELECT FROM namespace_moves WHERE done_at IS NULL)"

_PRESENT = "SELECT id FROM ai_usage_events WHERE id = ANY(%s)"

_REMOVE_KEY = """
    INSERT INTO removed_keys (id, timestamp, event, namespace_path)
    SELECT %s, timestamptz 'epoch' + %s * interval '1 microsecond', %s, nullif(%s, '')
"""


class Difference(msgspec.Struct):
    """What differs in one month.

    Attributes:
        compared: number of events in PostgreSQL that were copied.
        waiting: number of events that the sync has yet to copy; they are not compared.
        refused: number of events that are not in ClickHouse because it refused them.
        missing: ids that ClickHouse lacks.
        extra: ids that PostgreSQL lacks.
        former: ids that ClickHouse has at a namespace, name or time where PostgreSQL does not have them.
        differing: ids whose events are not the same in both stores.
    """

    month: date
    compared: int = 0
    waiting: int = 0
    refused: int = 0
    missing: set[UUID] = msgspec.field(default_factory=set)
    extra: set[UUID] = msgspec.field(default_factory=set)
    former: set[UUID] = msgspec.field(default_factory=set)
    differing: set[UUID] = msgspec.field(default_factory=set)

    @property
    def count(self) -> int:
        """Returns the number of events that differ."""
        return len(self.missing) + len(self.extra) + len(self.former) + len(self.differing)

    def lines(self) -> Iterator[str]:
        """Yields the difference for people."""
        notes = [f"{counted(self.waiting, '', 'waits')} for the sync"] if self.waiting else []
        notes += [f"ClickHouse refused {self.refused:,}"] if self.refused else []
        result = "equal" if not self.count else counted(self.count, "", "differs")
        yield f"{self.month:%Y-%m}: {counted(self.compared, 'event', 'was')} compared, {', '.join([result, *notes])}"
        yield from _named("missing in ClickHouse", self.missing)
        yield from _named("only in ClickHouse", self.extra)
        yield from _named("elsewhere in ClickHouse too", self.former)
        yield from _named("not the same", self.differing)


@dataclass(frozen=True, slots=True)
class Verification:
    """Compares both stores month by month.

    Attributes:
        connection: its lock timeout limits how long a comparison waits for a running sync.
        clickhouse_months: number of months that ClickHouse keeps; None for ever.
        today: current day in UTC.
        progress: called with a line that says what is being done.
        keep_extra: whether a repair leaves events that only ClickHouse has.
    """

    connection: Connection
    client: Client
    clickhouse_months: int | None
    today: date
    progress: Callable[[str], None] = lambda _: None
    keep_extra: bool = False

    def months(self) -> list[date]:
        """Returns the months that PostgreSQL has. What is older is only in ClickHouse, and is left alone."""
        return [date(int(name[-6:-2]), int(name[-2:]), 1) for name in partitions(self.connection)]

    def compare(self, month: date, *, repair: bool = False) -> Difference:
        """Compares one month.

        Args:
            repair: let the sync copy missing and differing events again, and remove extra ones.

        Raises:
            SyncError: nothing was copied yet, another sync does not end, or PostgreSQL must be refilled first.
        """
        if repair:
            self._require_all_events()
        difference = Difference(month)
        start = first_kept_day(month, self.clickhouse_months, self.today)
        if start is None:
            return difference
        contents = MonthContents(self.connection, self.client, month, start, later_month(month, 1))
        self.progress(f"{month:%Y-%m}: adding up both stores …")
        sums, difference.waiting = contents.postgres_sums(self._cursor())
        difference.compared = sum(count for count, _ in sums.values())
        for first, last in differing_minutes(sums, contents.clickhouse_sums()):
            self.progress(f"{month:%Y-%m}: comparing event by event …")
            self._compare_minutes(contents, first, last, difference, repair=repair)
        return difference

    def _require_all_events(self) -> None:
        """Makes sure that PostgreSQL does not lack events that a refill brings: a repair would remove them."""
        if is_of_another(self.connection, self.client) or is_unfinished(self.connection):
            raise SyncError("ClickHouse has what PostgreSQL lost: run `usage-events refill` before a repair")

    def _cursor(self) -> SyncPosition:
        target = readable_target_of(self.client)
        if target is None:
            raise SyncError("ClickHouse has no table of events yet: run `usage-events sync`")
        cursor = read_state(self.connection, target).cursor
        reason = replacement(self.connection, self.client, target)
        if reason is None and foreign_position(self.connection, cursor) is not None:
            reason = f"PostgreSQL was restored from another server: run {START_ANEW}"
        if reason is not None:
            raise SyncError(reason)
        return cursor

    def _compare_minutes(
        self, contents: MonthContents, first: int, last: int, difference: Difference, *, repair: bool
    ) -> None:
        """Compares event by event, while no sync runs."""
        try:
            self.connection.execute(_LOCK, [locks.SYNC])
        except LockNotAvailable as error:
            raise SyncError("another sync does not end") from error
        with advisory_lock_released(self.connection, locks.SYNC):
            found = contents.read(first, last, self._cursor())
        missing, extra, differing = _compared(found)
        refused = contents.refused([key[0] for key in missing])
        missing = [key for key in missing if key[0] not in refused]
        difference.refused += len(refused)
        missing_ids, extra_ids = {key[0] for key in missing}, {key[0] for key in extra}
        difference.differing |= {key[0] for key in differing} | (missing_ids & extra_ids)
        difference.missing |= missing_ids - extra_ids
        present = self._present(extra_ids)
        difference.former |= (extra_ids - missing_ids) & present
        difference.extra |= extra_ids - present
        if self.keep_extra:
            extra = [key for key in extra if key[0] in present]
        if repair and (missing or extra or differing):
            self._repair(contents.month, [key[0] for key in [*missing, *differing]], extra)

    def _present(self, ids: Collection[UUID]) -> set[UUID]:
        """Returns those of the ids that PostgreSQL has, in whichever month."""
        return {found for (found,) in self.connection.execute(_PRESENT, [list(ids)])} if ids else set()

    def _repair(self, month: date, ids: Sequence[UUID], extra: Sequence[Key]) -> None:
        table = sql.Identifier(partition_name(month))
        with shared_directory_lock(self.connection):
            if self.connection.execute(_OPEN_MOVES).fetchone() == (True,):
                raise SyncError("namespaces have moved, and their events have not yet: repeat the command")
            self.connection.execute(_KEEP_PARTITION.format(table=table))
            if partition_name(month) not in partitions(self.connection):
                raise SyncError(f"PostgreSQL no longer has {month:%Y-%m}")
            with self.connection.cursor() as cursor:
                cursor.executemany(_REMOVE_KEY, extra)
            self.connection.execute(_COPY_AGAIN.format(table=table), [list(ids)])


def _compared(contents: Contents) -> tuple[list[Key], list[Key], list[Key]]:
    """Returns the keys that ClickHouse lacks, that PostgreSQL lacks, and that have other values."""
    here, there = contents.postgres, contents.clickhouse
    missing = [key for key in here if key not in there and key[0] not in contents.waiting]
    extra = [key for key in there if key not in here and key[0] not in contents.waiting]
    differing = [
        key
        for key, rest in here.items()
        if key in there and key[0] not in contents.waiting
        if not are_same(rest, there[key])
    ]
    return missing, extra, differing


def _named(what: str, ids: set[UUID]) -> Iterator[str]:
    if ids:
        more = f" and {len(ids) - MAX_NAMED_IDS:,} more" if len(ids) > MAX_NAMED_IDS else ""
        yield f"  {what}: {', '.join(map(str, sorted(ids)[:MAX_NAMED_IDS]))}{more}"
