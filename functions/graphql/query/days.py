"""First and last day that a query may name. Events can't be outside, and both stores can compare these days."""

from datetime import UTC, date, datetime, time

FIRST_DAY = date(1970, 1, 1)
LAST_DAY = date(2199, 12, 31)


def midnight(day: date) -> datetime:
    """Start of a day, in UTC."""
    return datetime.combine(day, time(), UTC)
