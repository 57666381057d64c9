"""Keeps in PostgreSQL which days of events changed in ClickHouse, and which rollup of each day counts.

Whoever changes events in ClickHouse first records the days here: from then on the days' rollups do not count, even if
the process dies right after. A rollup counts only if it has seen all changes that were recorded, and if none of them
may still reach ClickHouse.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec

from functions.shared.postgres import Connection
from functions.shared.timestamp import months_before, utc_now

UNCONFIRMED_SECONDS = 900
"""A change that nobody has confirmed reaches ClickHouse within this time, or never: no statement takes longer."""

SETTLED_AFTER = timedelta(hours=1)
"""A day gets a rollup at the earliest this long after its end. Changes of a day that is not over are not recorded, so
this must be longer than `UNCONFIRMED_SECONDS`."""

# ClickHouse removes events some time after they are too old.
_BEFORE_REMOVAL = timedelta(days=3)

# Rows are locked in the order of their days, so that two processes do not wait for each other.
_CHANGE = """
    WITH changed AS (
        INSERT INTO rollup_days AS known (target, day, changes, changed_at)
        SELECT %(target)s, day, 1, clock_timestamp()
        FROM unnest(%(days)s::date[]) AS day
        ORDER BY day
        ON CONFLICT (target, day) DO UPDATE SET
            changes = known.changes + 1,
            changed_at = CASE
                WHEN known.built_changes = known.changes THEN excluded.changed_at
                ELSE coalesce(known.changed_at, excluded.changed_at)
            END
        RETURNING day
    )
    INSERT INTO rollup_changes (target, day)
    SELECT %(target)s, day
    FROM changed
    RETURNING number
"""

_CONFIRM = "DELETE FROM rollup_changes WHERE number = ANY(%s)"

_COUNTING = """
    SELECT day, build
    FROM rollup_days
    WHERE target = %(target)s
      AND day >= %(first)s
      AND day < %(end)s
      AND built_changes = changes
      AND measures @> %(measures)s::text[]
    ORDER BY day
"""

# Like a change that is complete: a rollup that is being built must not count either.
_FORGET = """
    UPDATE rollup_days
    SET changes = changes + 1, build = NULL, built_changes = NULL
    WHERE day < coalesce(%s::date, 'infinity')
"""


class Rollup(msgspec.Struct, frozen=True):
    """The rollup of a day that counts.

    Attributes:
        build: number of the rollup, which all its rows in ClickHouse carry.
    """

    day: date
    build: int


def is_over(day: date) -> bool:
    """Whether changes of the day's events must be recorded."""
    return day < utc_now().date()


def first_whole_day(kept_months: int | None, today: date) -> date:
    """Returns the first day of which ClickHouse removes no event for some days to come, however long it keeps events.

    Args:
        kept_months: for how many months ClickHouse keeps events; None for ever.
    """
    if kept_months is None:
        return date.min
    moment = datetime(today.year, today.month, today.day, tzinfo=UTC) + _BEFORE_REMOVAL
    return months_before(moment, kept_months).date()


def record_change(connection: Connection, target: UUID, days: Iterable[date]) -> list[int]:
    """Records that events of the days are about to change in ClickHouse, and returns the numbers of the changes.

    The record must be committed before the change reaches ClickHouse.
    """
    values = {"target": str(target), "days": sorted(set(days))}
    return [number for (number,) in connection.execute(_CHANGE, values)]


def confirm_changes(connection: Connection, numbers: Collection[int]) -> None:
    """Records that these changes are complete in ClickHouse, or will never reach it."""
    if numbers:
        connection.execute(_CONFIRM, [list(numbers)])


def counting_rollups(
    connection: Connection, target: UUID, first: date, end: date, measures: Sequence[str]
) -> tuple[Rollup, ...]:
    """Returns the rollups that count and hold the measures, of the days from `first` until before `end`."""
    values = {"target": str(target), "first": first, "end": end, "measures": list(measures)}
    return tuple(Rollup(*row) for row in connection.execute(_COUNTING, values))


def forget_rollups(connection: Connection, before: date | None = None) -> None:
    """Forgets the rollups of all days, or of those before a day; their events are read until they are built again."""
    connection.execute(_FORGET, [before])
