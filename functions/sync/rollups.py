"""Builds rollups of days in ClickHouse: of days that have none, or whose events changed since.

Any step may be interrupted, and several processes may build at once. A build has a number of its own. Its rows count
only once PostgreSQL says so, in one statement, which fails if the day's events changed since the build began.
"""

import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from clickhouse_connect.driver.client import Client

from functions.shared import clickhouse, locks
from functions.shared.catalog import registry
from functions.shared.clickhouse import TABLE, readable_target_of, ttl_months
from functions.shared.postgres import Connection, TimeLimits, advisory_lock_released, connect, try_advisory_lock
from functions.shared.rollup import FORMAT, RollupMeasure, rollup_measures
from functions.shared.rollup_days import SETTLED_AFTER, UNCONFIRMED_SECONDS, first_whole_day
from functions.shared.secret import UrlSource
from functions.shared.sync_state import read_state
from functions.shared.timestamp import utc_now
from functions.sync.rollup_tables import RollupTables

REBUILD_SECONDS = 600
"""A day that has changed is built again this long after its first change, so that many changes are seen at once."""

MAX_OUTDATED_BUILDS = 30
"""Rows of more builds that do not count are removed, which rewrites the parts that hold them."""

MAX_EVENTS_AT_ONCE = 2_000_000
"""One statement reads about as many events, but never less than those of a day."""

_GRACE_SECONDS = 10

# By chance: a PostgreSQL that was restored from a dump would count up to numbers that have rows already.
_MAX_BUILD = 2**63 - 1

# The events of some months, also of days without any. What PostgreSQL knows of a day decides.
_MONTHS = """
    SELECT DISTINCT toUInt32(partition)
    FROM system.parts
    WHERE database = currentDatabase() AND table = {table:String} AND active
"""

_MUTATIONS = """
    SELECT count()
    FROM system.mutations
    WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done
"""

_EVENTS_OF_DAYS = """
    SELECT toDate32(timestamp) AS day, count()
    FROM ai_usage_events
    WHERE timestamp >= toDateTime64({first:Date32}, 6, 'UTC') AND timestamp < toDateTime64({last:Date32} + 1, 6, 'UTC')
    GROUP BY day
"""

# Without a row, `forget_rollups` would not reach a day.
_ADD_DAYS = """
    INSERT INTO rollup_days (target, day, changes)
    SELECT %(target)s, day::date, 0
    FROM unnest(%(months)s::date[]) AS month (first)
    CROSS JOIN generate_series(first::timestamp, first + interval '1 month - 1 day', interval '1 day') AS day
    ORDER BY day
    ON CONFLICT (target, day) DO NOTHING
"""

_DUE = """
    WITH open AS (
        SELECT day, max(begun_at) AS begun_at, array_agg(number) AS numbers
        FROM rollup_changes
        WHERE target = %(target)s
        GROUP BY day
    )
    SELECT known.day, known.changes, coalesce(open.numbers, '{}')
    FROM rollup_days AS known
    LEFT JOIN open USING (day)
    WHERE known.target = %(target)s
      AND known.day >= %(first_day)s
      AND known.day + interval '1 day' + %(settled_after)s < clock_timestamp() AT TIME ZONE 'UTC'
      AND (
              known.build IS NULL
              OR NOT (known.measures @> %(measures)s::text[])
              OR NOT (known.build = ANY(%(whole)s::bigint[]))
              OR (
                  known.built_changes <> known.changes
                  AND known.changed_at < clock_timestamp() - %(rebuild_after)s
              )
          )
      AND (open.begun_at IS NULL OR open.begun_at < clock_timestamp() - %(unconfirmed)s)
    ORDER BY known.day DESC
"""

# Changes that were recorded since the day was chosen keep the build from counting.
_COUNT = """
    WITH locked AS (
        SELECT day
        FROM rollup_days
        WHERE target = %(target)s AND day = ANY(%(days)s::date[])
        ORDER BY day
        FOR UPDATE
    )
    UPDATE rollup_days AS known
    SET build = built.build, built_changes = built.changes, measures = %(measures)s::text[]
    FROM unnest(%(days)s::date[], %(changes)s::bigint[], %(builds)s::bigint[]) AS built (day, changes, build)
    JOIN locked USING (day)
    WHERE known.target = %(target)s AND known.day = built.day AND known.changes = built.changes
    RETURNING known.day
"""

_FORGET_CHANGES = "DELETE FROM rollup_changes WHERE number = ANY(%s)"

_BUILDS = "SELECT build FROM rollup_days WHERE target = %s AND build IS NOT NULL"


class Due(NamedTuple):
    """A day that needs a build.

    Attributes:
        changes: number of the day's changes that were recorded so far.
        lost: numbers of changes that nobody confirmed, and that can't reach ClickHouse any more.
    """

    day: date
    changes: int
    lost: list[int]


class RollupReport(msgspec.Struct):
    """What a run built.

    Attributes:
        days: number of days whose new rollup counts.
        events: number of rows of events that were read for them.
        waiting: number of days that a later run builds.
    """

    days: int = 0
    events: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Rollups:
    """Builds rollups.

    Attributes:
        cluster: cluster of the replicated tables; None for a single server.
        measures: the sums and distinct values to hold; None for those of the definitions.
        rebuild_seconds: how long after its first change a day is built again.
        max_outdated_builds: how many builds that do not count stay.
    """

    database_url: UrlSource
    clickhouse_url: UrlSource
    cluster: str | None = None
    measures: Collection[RollupMeasure] | None = None
    rebuild_seconds: float = REBUILD_SECONDS
    max_outdated_builds: int = MAX_OUTDATED_BUILDS

    def run(self, seconds: float) -> RollupReport:
        """Builds until nothing is due or about `seconds` have passed; returns at once if another process builds.

        Raises:
            psycopg.Error: the connection to PostgreSQL failed.
            ClickHouseError: the connection to ClickHouse failed, or a statement did; a later run goes on.
        """
        deadline = time.monotonic() + seconds
        limit = int(seconds) + _GRACE_SECONDS
        report = RollupReport()
        options = f"-c idle_session_timeout={limit}s"
        with connect(self.database_url, TimeLimits(limit, limit), options) as control:
            if not try_advisory_lock(control, locks.ROLLUPS):
                return report
            with (
                advisory_lock_released(control, locks.ROLLUPS),
                closing(clickhouse.connect(self.clickhouse_url, limit)) as client,
            ):
                target = readable_target_of(client)
                if target is not None and read_state(control, target).caught_up_at is not None:
                    _RollupRun(self, control, client, target, report, deadline).run()
        return report


@dataclass(frozen=True, slots=True)
class _RollupRun:
    """One run, which holds the lock."""

    rollups: Rollups
    control: Connection
    client: Client
    target: UUID
    report: RollupReport
    deadline: float

    def run(self) -> None:
        measures = self._measures()
        tables = RollupTables(self.client, self.rollups.cluster, measures)
        tables.ensure()
        due = [] if self._is_mutating() else self._due(tables)
        self.report.waiting = len(due)
        for portion, events in self._portions(due):
            if time.monotonic() >= self.deadline:
                return
            self._build(tables, portion)
            self.report.waiting -= len(portion)
            self.report.events += events
        counting = {build for (build,) in self.control.execute(_BUILDS, [str(self.target)])}
        outdated = tables.all_builds() - counting
        if len(outdated) > self.rollups.max_outdated_builds:
            tables.delete_builds(outdated)

    def _is_mutating(self) -> bool:
        """Whether events may be erased some time later: a mutation goes on if the process dies that waits for it."""
        return bool(self.client.query(_MUTATIONS, parameters={"table": TABLE}).result_rows[0][0])

    def _measures(self) -> Sequence[RollupMeasure]:
        given = self.rollups.measures
        return rollup_measures(registry.load()) if given is None else sorted(given, key=lambda each: each.column)

    def _due(self, tables: RollupTables) -> list[Due]:
        months = [
            date(month // 100, month % 100, 1)
            for (month,) in self.client.query(_MONTHS, parameters={"table": TABLE}).result_rows
        ]
        values = {
            "target": str(self.target),
            "first_day": first_whole_day(ttl_months(self.client), utc_now().date()),
            "measures": self._names(tables),
            "whole": list(tables.whole_builds()),
            "settled_after": SETTLED_AFTER,
            "rebuild_after": timedelta(seconds=self.rollups.rebuild_seconds),
            "unconfirmed": timedelta(seconds=UNCONFIRMED_SECONDS),
        }
        self.control.execute(_ADD_DAYS, {"target": str(self.target), "months": months})
        return [Due(*row) for row in self.control.execute(_DUE, values)]

    def _names(self, tables: RollupTables) -> list[str]:
        return [FORMAT, *(measure.column for measure in tables.measures)]

    def _portions(self, due: Sequence[Due]) -> Iterator[tuple[list[Due], int]]:
        """Yields days of one month each, with about `MAX_EVENTS_AT_ONCE` events, and the number of the events."""
        counts: dict[date, int] = {}
        portion, events = list[Due](), 0
        for one in due:
            if one.day not in counts:
                counts = self._counts([each.day for each in due if each.day.replace(day=1) == one.day.replace(day=1)])
            count = counts[one.day]
            begins_month = bool(portion) and portion[0].day.replace(day=1) != one.day.replace(day=1)
            if portion and (begins_month or events + count > MAX_EVENTS_AT_ONCE):
                yield portion, events
                portion, events = [], 0
            portion.append(one)
            events += count
        if portion:
            yield portion, events

    def _counts(self, days: Sequence[date]) -> dict[date, int]:
        values = {"first": min(days), "last": max(days)}
        rows = self.client.query(_EVENTS_OF_DAYS, parameters=values).result_rows
        return dict.fromkeys(days, 0) | {day: int(count) for day, count in rows}

    def _build(self, tables: RollupTables, due: Sequence[Due]) -> None:
        numbers = [secrets.randbelow(_MAX_BUILD) + 1 for _ in due]
        tables.fill([(one.day, number) for one, number in zip(due, numbers, strict=True)])
        values: dict[str, Any] = {
            "target": str(self.target),
            "days": [one.day for one in due],
            "changes": [one.changes for one in due],
            "builds": numbers,
            "measures": self._names(tables),
        }
        counted = self.control.execute(_COUNT, values).fetchall()
        self.control.execute(_FORGET_CHANGES, [[number for one in due for number in one.lost]])
        self.report.days += len(counted)
