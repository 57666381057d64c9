"""Moves stored events and names to where the directory says that their namespaces and projects are now."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from functions.shared import clickhouse, locks
from functions.shared.directory_lock import shared_directory_lock
from functions.shared.postgres import Connection, TimeLimits, advisory_lock_released, connect, try_advisory_lock
from functions.shared.secret import UrlSource
from functions.shared.traversal_path import namespace_upper_bound
from functions.sync.clickhouse_moves import count_pending, may_be_pending, move_in_clickhouse
from functions.sync.names import move_names
from functions.sync.places import Places
from functions.sync.turns import by_turns

ROWS_AT_ONCE = 2_000
"""Events that one transaction moves; a sender or reader waits no longer than for these."""

_GRACE_SECONDS = 10

# The planner does not know that few rows are wanted, and would read whole partitions, or everything at a path.
_OPTIONS = (
    "-c lock_timeout=5s -c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off "
    "-c max_parallel_workers_per_gather=0 -c jit=off"
)

_OPEN = """
    SELECT number, kind, id, old_path, opened, before_xact::text, late_xacts::text[]
    FROM namespace_moves
    WHERE done_at IS NULL
    ORDER BY number
"""

_COUNT_OPEN = "SELECT count(*) FROM namespace_moves WHERE done_at IS NULL"

_FIRST_PATH = """
    SELECT min(namespace_path)
    FROM ai_usage_events
    WHERE namespace_path >= %(path)s AND namespace_path < %(upper_bound)s
"""

_NEXT_PATH = """
    SELECT min(namespace_path)
    FROM ai_usage_events
    WHERE namespace_path > %(path)s AND namespace_path < %(upper_bound)s
"""

# Rows that were restored from another server may have transactions of the future.
_EVENTS_AT = """
    SELECT id, timestamp, project_id
    FROM ai_usage_events
    WHERE namespace_path = %(path)s AND (timestamp, id) < (%(timestamp)s, %(id)s)
      AND (
          xact_id < %(before_xact)s::xid8
          OR xact_id = ANY(%(late_xacts)s::xid8[])
          OR xact_id >= pg_snapshot_xmax(pg_current_snapshot())
      )
    ORDER BY timestamp DESC, id DESC
    LIMIT %(limit)s
"""

_EVENTS_OF_PROJECT_AT = """
    SELECT id, timestamp, project_id
    FROM ai_usage_events
    WHERE project_id = %(project)s AND namespace_path = %(path)s AND (timestamp, id) < (%(timestamp)s, %(id)s)
      AND (
          xact_id < %(before_xact)s::xid8
          OR xact_id = ANY(%(late_xacts)s::xid8[])
          OR xact_id >= pg_snapshot_xmax(pg_current_snapshot())
      )
    ORDER BY timestamp DESC, id DESC
    LIMIT %(limit)s
"""

# An event that was changed or removed meanwhile stays as it is.
_MOVE = """
    UPDATE ai_usage_events AS event
    SET namespace_path = moving.path
    FROM unnest(%(ids)s::uuid[], %(timestamps)s::timestamptz[], %(paths)s::text[]) AS moving (id, timestamp, path)
    WHERE event.id = moving.id AND event.timestamp = moving.timestamp AND event.namespace_path = %(path)s
"""

_PROGRESS = "UPDATE namespace_moves SET progress = progress + %(moved)s WHERE number = %(number)s"

# Fails if a batch of events had the move repeated meanwhile; see `repeat_moves` of the ingest. Until a refill is
# finished, it brings events to former paths.
_DONE = """
    UPDATE namespace_moves
    SET done_at = now(), late_xacts = '{}'
    WHERE number = %(number)s AND opened = %(opened)s
      AND (SELECT finished_at IS NULL FROM refills ORDER BY epoch DESC LIMIT 1) IS NOT TRUE
"""

_AFTER_ALL_EVENTS = {"timestamp": datetime.max.replace(tzinfo=UTC), "id": UUID(int=2**128 - 1)}


class OpenMove(NamedTuple):
    """A former path of a namespace or project, where events may be left.

    Attributes:
        opened: number of times that events were known to be left there.
        before_xact: events of older transactions move.
        late_xacts: further transactions whose events move.
    """

    number: int
    kind: str
    id: int
    old_path: str
    opened: int
    before_xact: str
    late_xacts: list[str]


@dataclass(slots=True)
class MoveReport:
    """What a run moved.

    Attributes:
        events: moved events.
        names: moved names of users.
        open: moves that are not done.
    """

    events: int = 0
    names: int = 0
    open: int = 0

    def __add__(self, later: "MoveReport") -> "MoveReport":
        return MoveReport(self.events + later.events, self.names + later.names, later.open)


class OutOfTime(Exception):
    """The run's time is over."""


@dataclass(frozen=True, slots=True)
class Mover:
    """Moves what is stored under former paths.

    Attributes:
        clickhouse_url: None if ClickHouse is disabled.
        progress: called after each transaction that moved events.
        durable: whether inserts into ClickHouse wait as those of the sync do.
    """

    database_url: UrlSource
    clickhouse_url: UrlSource | None = None
    progress: Callable[[MoveReport], None] = lambda _: None
    durable: bool = True

    def run(self, seconds: float) -> MoveReport:
        """Moves events until no move is open, or until about `seconds` have passed; a later run continues.

        Returns at once if another run is under way.

        Raises:
            psycopg.Error: the connection to PostgreSQL failed.
            ClickHouseError: the connection to ClickHouse failed; what PostgreSQL has was moved before.
        """
        report = MoveReport()
        limit = int(seconds) + _GRACE_SECONDS
        limits = TimeLimits(statement=limit, transaction=limit)
        with connect(self.database_url, limits, f"{_OPTIONS} -c idle_session_timeout={limit}s") as connection:
            if try_advisory_lock(connection, locks.MOVES):
                with advisory_lock_released(connection, locks.MOVES):
                    run = _Run(connection, report, self.progress, time.monotonic() + seconds)
                    run.move_all()
                    if self.clickhouse_url is not None and may_be_pending(connection):
                        self._move_in_clickhouse(self.clickhouse_url, run)
            report.open += _count_open(connection)
        return report

    def _move_in_clickhouse(self, url: UrlSource, run: "_Run") -> None:
        """Moves what only ClickHouse has, unless a sync is copying rows or changing the table."""
        connection, seconds = run.connection, max(1, run.deadline - time.monotonic())
        with closing(clickhouse.connect(url, seconds + _GRACE_SECONDS)) as client:
            if try_advisory_lock(connection, locks.SYNC):
                with advisory_lock_released(connection, locks.SYNC), suppress(OutOfTime):
                    run.report.events += move_in_clickhouse(connection, client, run.require_time, durable=self.durable)
            run.report.open += count_pending(connection, client)


@dataclass(slots=True)
class _Run:
    """One run, which holds the lock."""

    connection: Connection
    report: MoveReport
    progress: Callable[[MoveReport], None]
    deadline: float

    def move_all(self) -> None:
        """Carries out each open move once, until time is over."""
        carried_out = set[int]()
        with suppress(OutOfTime):
            while moves := [move for move in self._open() if move.number not in carried_out]:
                carried_out.update(move.number for move in moves)
                by_turns(moves, self._carry_out)

    def _open(self) -> list[OpenMove]:
        return [OpenMove(*row) for row in self.connection.execute(_OPEN)]

    def _carry_out(self, move: OpenMove) -> Iterator[None]:
        """Examines everything under the former path once; yields after each transaction.

        Whoever writes there later knows of the move, or finds under the directory's lock that it did not, and has the
        move repeated.
        """
        self.require_time()
        if move.kind == "project":
            yield from self._move_events(move, move.old_path)
        else:
            for names in move_names(move.number, move.old_path, self.connection, self.require_time):
                self.report.names += names
                yield
            values = {"path": move.old_path, "upper_bound": namespace_upper_bound(move.old_path)}
            path = self._path(_FIRST_PATH, values)
            while path is not None:
                yield from self._move_events(move, path)
                path = self._path(_NEXT_PATH, values | {"path": path})
        self.connection.execute(_DONE, {"number": move.number, "opened": move.opened})

    def _path(self, statement: str, values: dict[str, str]) -> str | None:
        row = self.connection.execute(statement, values).fetchone()
        return row[0] if row else None

    def _move_events(self, move: OpenMove, path: str) -> Iterator[None]:
        """Moves the events at exactly this path, newest first; yields after each transaction."""
        statement = _EVENTS_OF_PROJECT_AT if move.kind == "project" else _EVENTS_AT
        values = {
            "path": path,
            "project": move.id,
            "limit": ROWS_AT_ONCE,
            "before_xact": move.before_xact,
            "late_xacts": move.late_xacts,
        } | _AFTER_ALL_EVENTS
        has_more = True
        while has_more:
            self.require_time()
            with shared_directory_lock(self.connection):  # no fact changes until the events have moved
                rows = self.connection.execute(statement, values).fetchall()
                moved = self._move_rows(path, rows)
            has_more = bool(rows)
            if has_more:
                values |= {"id": rows[-1][0], "timestamp": rows[-1][1]}
            if moved:
                self.connection.execute(_PROGRESS, {"moved": moved, "number": move.number})
                self.report.events += moved
                self.progress(self.report)
            yield

    def _move_rows(self, path: str, rows: Sequence[tuple[UUID, datetime, int | None]]) -> int:
        """Moves those of the events at a path that are elsewhere, and returns their number."""
        places = Places(self.connection)
        moving = [
            (identifier, timestamp, place)
            for identifier, timestamp, project in rows
            if (place := places.of(path, project)) != path
        ]
        if not moving:
            return 0
        ids, timestamps, paths = zip(*moving, strict=True)
        values = {"ids": list(ids), "timestamps": list(timestamps), "paths": list(paths), "path": path}
        return self.connection.execute(_MOVE, values).rowcount

    def require_time(self) -> None:
        """Raises `OutOfTime` if the run's time is over."""
        if time.monotonic() >= self.deadline:
            raise OutOfTime


def _count_open(connection: Connection) -> int:
    row = connection.execute(_COUNT_OPEN).fetchone()
    return int(row[0]) if row else 0
