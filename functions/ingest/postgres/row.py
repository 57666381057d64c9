"""A row of `ai_usage_events`, with its sort key and the months to search for its id."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

import msgspec

NO_OTHER_MONTH = 0
EVERY_MONTH = -1

_ID_BITS = 128
_NEAR = timedelta(hours=48)
_DAYS_NEAR_THE_BEGINNING = 2
_EARLIEST_DAY_NEAR_THE_END = 27  # in February


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of `ai_usage_events`.

    Attributes:
        payload: JSON.
        write_order: sort key. See `write_order_key`.
        other_month: number of the other month in which the id may be stored; or `EVERY_MONTH` or `NO_OTHER_MONTH`.
    """

    id: UUID
    timestamp: datetime
    event: int
    user_id: int
    namespace_path: str | None
    project_id: int | None
    payload: bytes
    write_order: int
    other_month: int = NO_OTHER_MONTH

    @property
    def month(self) -> int:
        """Returns the number of the row's month. See `month_number`."""
        return self.write_order >> _ID_BITS


def month_number(timestamp: datetime) -> int:
    """Returns the number of a timestamp's month; consecutive months have consecutive numbers."""
    return timestamp.year * 12 + timestamp.month


@lru_cache(maxsize=64)  # called for each row near the end of a month
def month_start(number: int) -> datetime:
    """Returns the beginning of a month in UTC."""
    year, index = divmod(number - 1, 12)
    return datetime(year, index + 1, 1, tzinfo=UTC)


def write_order_key(timestamp: datetime, identifier: UUID) -> int:
    """Returns the key of the order in which all batches write, by month and id, so that no batches deadlock."""
    return (timestamp.year * 12 + timestamp.month) << _ID_BITS | identifier.int


def is_mid_month(day: int) -> bool:
    """Whether no other month is less than 48 hours away from any time of a day."""
    return _DAYS_NEAR_THE_BEGINNING < day < _EARLIEST_DAY_NEAR_THE_END


def neighbouring_month(timestamp: datetime) -> int:
    """Returns the number of the month that is less than 48 hours away; `NO_OTHER_MONTH` if there is none."""
    if _DAYS_NEAR_THE_BEGINNING < timestamp.day < _EARLIEST_DAY_NEAR_THE_END:  # for most rows the only check
        return NO_OTHER_MONTH
    number = month_number(timestamp)
    if timestamp.day <= _DAYS_NEAR_THE_BEGINNING:
        return number - 1
    return number + 1 if month_start(number + 1) - timestamp < _NEAR else NO_OTHER_MONTH
