"""The arguments of a query, checked."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from functions.graphql.cursor import from_cursor
from functions.graphql.event_query import Position

DEFAULT_DAYS = 7
DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
_LARGEST_ID = 2**63 - 1
_DIGITS = re.compile(r"[0-9]{1,19}")


class InvalidArgument(Exception):
    """An argument of a query is not usable; the message says which and why, for the client."""


def period(start_date: date | None, end_date: date | None, today: date) -> tuple[datetime, datetime]:
    """The first moment of the first day, and the moment after the last; the last seven days where none is given.

    Raises:
        InvalidArgument: the last day is before the first, or at an end of the calendar.
    """
    end_date = end_date or max(today, start_date or today)
    try:
        start_date = start_date or end_date - timedelta(days=DEFAULT_DAYS - 1)
        day_after = end_date + timedelta(days=1)
    except OverflowError:
        raise InvalidArgument(f"endDate {end_date} is too close to an end of the calendar.") from None
    if end_date < start_date:
        raise InvalidArgument(f"endDate {end_date} is before startDate {start_date}.")
    return _midnight(start_date), _midnight(day_after)


def page_size(first: int | None) -> int:
    """How many events a page has.

    Raises:
        InvalidArgument: `first` is negative or too large.
    """
    if first is None:
        return DEFAULT_PAGE
    if not 0 <= first <= LARGEST_PAGE:
        raise InvalidArgument(f"first must be from 0 to {LARGEST_PAGE}, not {first}.")
    return first


def position(after: str | None) -> Position | None:
    """The position that a cursor names.

    Raises:
        InvalidArgument: it is no cursor.
    """
    if after is None:
        return None
    try:
        return from_cursor(after)
    except ValueError:
        raise InvalidArgument("after is no cursor of this connection.") from None


def users(user_ids: Sequence[str] | None) -> tuple[int, ...] | None:
    """The users' ids as numbers.

    Raises:
        InvalidArgument: one is no positive 64-bit integer.
    """
    if user_ids is None:
        return None
    for user_id in user_ids:
        if not (_DIGITS.fullmatch(user_id) and 0 < int(user_id) <= _LARGEST_ID):
            raise InvalidArgument(f"userIds: {user_id[:40]!r} is no user's id.")
    return tuple(dict.fromkeys(map(int, user_ids)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
