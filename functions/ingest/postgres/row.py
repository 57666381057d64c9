"""A row of `ai_usage_events`, and what the way it is written depends on."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

import msgspec

NO_OTHER_MONTH = 0
EVERY_MONTH = -1

_ID_BITS = 128
_NEAR = timedelta(hours=48)
_DAYS_NEAR_THE_BEGINNING = 2
_EARLIEST_DAY_NEAR_THE_END = 27  # of February


class Row(msgspec.Struct, frozen=True):
    """A row of `ai_usage_events`, and what the way it is written depends on.

    Attributes:
        payload: JSON.
        write_order: see `write_order_key`.
        other_month: the number of the month in which the id may be stored too; `EVERY_MONTH` or `NO_OTHER_MONTH`.
    """

    id: UUID
    timestamp: datetime
    event: int
    user_id: int
    namespace_path: str | None
    payload: bytes
    write_order: int
    other_month: int = NO_OTHER_MONTH

    @property
    def month(self) -> int:
        """The number of the row's month: see `month_number`."""
        return self.write_order >> _ID_BITS


def month_number(timestamp: datetime) -> int:
    """The number of the month, one more than that of the month before."""
    return timestamp.year * 12 + timestamp.month


@lru_cache(maxsize=64)  # near the end of a month it is asked for each row
def month_start(number: int) -> datetime:
    """When the month of that number begins, in UTC."""
    year, index = divmod(number - 1, 12)
    return datetime(year, index + 1, 1, tzinfo=UTC)


def write_order_key(timestamp: datetime, identifier: UUID) -> int:
    """Where an event stands in the order in which all batches write, so that none deadlock: by month and id."""
    return month_number(timestamp) << _ID_BITS | identifier.int


def neighbouring_month(timestamp: datetime) -> int:
    """The number of the month that is less than 48 hours away; `NO_OTHER_MONTH` where neither of the two is."""
    if _DAYS_NEAR_THE_BEGINNING < timestamp.day < _EARLIEST_DAY_NEAR_THE_END:
        return NO_OTHER_MONTH
    number = month_number(timestamp)
    if timestamp.day <= _DAYS_NEAR_THE_BEGINNING:
        return number - 1
    return number + 1 if month_start(number + 1) - timestamp < _NEAR else NO_OTHER_MONTH
