"""The days that can be asked for: all that an event can be of, and that both stores can compare with."""

from datetime import UTC, date, datetime, time

FIRST_DAY = date(1970, 1, 1)
LAST_DAY = date(2199, 12, 31)


def midnight(day: date) -> datetime:
    """The first moment of a day."""
    return datetime.combine(day, time(), UTC)
