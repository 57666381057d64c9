"""Names, lists and makes the monthly partitions of `ai_usage_events`."""

from datetime import UTC, date, datetime

from functions.shared import locks
from functions.shared.postgres import Connection

MONTHS_AHEAD = 3

_PARTITIONS = """
    SELECT child.relname
    FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'ai_usage_events'::regclass AND NOT inhdetachpending
    ORDER BY child.relname
"""

_LOCK = "SELECT pg_advisory_xact_lock(%s)"

# A function of the owner's, because roles that own no table make partitions too.
_MAKE = "SELECT make_event_partition(%s)"


def month_of(day: date) -> date:
    """Returns the first day of the month."""
    return date(day.year, day.month, 1)


def later_month(month: date, months: int) -> date:
    """Returns the first day of the month that is `months` later (earlier if negative)."""
    year, index = divmod(month.year * 12 + month.month - 1 + months, 12)
    return date(year, index + 1, 1)


def first_moment(month: date) -> datetime:
    """Returns the start of the month in UTC."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def partition_name(month: date) -> str:
    """
    >>> partition_name(date(2026, 11, 1))
    'ai_usage_events_202611'
    """
    return f"ai_usage_events_{month:%Y%m}"


def wanted_months(today: date, retention_months: int) -> list[date]:
    """Returns the months that need a partition: the retained months, this one and the next three."""
    this_month = month_of(today)
    return [later_month(this_month, months) for months in range(-retention_months, MONTHS_AHEAD + 1)]


def partitions(connection: Connection) -> list[str]:
    """Returns the names of the existing partitions, oldest first."""
    return [name for (name,) in connection.execute(_PARTITIONS)]


def make_partitions(connection: Connection, months: list[date]) -> list[str]:
    """Makes the missing partitions of `months`, and returns their names.

    A partition is created first and attached afterwards, so that writers are not blocked; callers wait for each other.
    """
    with connection.transaction():
        connection.execute(_LOCK, [locks.PARTITIONS])
        present = set(partitions(connection))
        missing = [month for month in months if partition_name(month) not in present]
        for month in missing:
            connection.execute(_MAKE, [month])
    return [partition_name(month) for month in missing]
