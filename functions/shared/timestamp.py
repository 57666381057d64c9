"""Parses and formats points in time."""

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from functions.shared.rejection import quoted

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATE_LENGTH = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND_DIGITS = "999999"
_LAST_MICROSECOND = _LAST_MICROSECOND_DIGITS.encode()
_PAST_LAST_MICROSECOND = re.compile(r"(\.9{6})\d+")
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """Returns the current moment in UTC."""
    return datetime.now(UTC)


def parse_timestamp(value: Any) -> datetime:
    """Parses `value` to a moment in UTC, rounded to the microsecond, but never up to the next second.

    Args:
        value: RFC 3339 (`2026-11-20T15:00:59.936Z`), `2026-11-20 12:55:11 UTC`, a date alone (its
            midnight in UTC), seconds since 1970 as a number, or a datetime with an offset.

    Raises:
        ValueError: `value` has none of these forms.

    >>> parse_timestamp("2026-11-20 12:55:11 UTC").isoformat()
    '2026-11-20T12:55:11+00:00'
    """
    try:
        moment = _convert(value)
        in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
        if isinstance(value, float) and in_utc.microsecond == 0 and value < in_utc.timestamp():
            in_utc -= _MICROSECOND
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(
            f"{quoted(value)} is not an RFC 3339 time, a date or a number of seconds since 1970"
        ) from error
    if moment.tzinfo is None:
        raise ValueError(f"{quoted(value)} has no offset from UTC, like a trailing Z")
    return in_utc


def format_timestamp(moment: datetime) -> str:
    """Formats `moment` as RFC 3339 in UTC, with as few digits as possible.

    >>> format_timestamp(datetime(2026, 11, 20, 15, tzinfo=UTC))
    '2026-11-20T15:00:00Z'
    """
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def to_microseconds(moment: datetime) -> int:
    """Returns the microseconds from 1970 to `moment`, which has a time zone.

    >>> to_microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (moment - _EPOCH) // _MICROSECOND


def months_before(moment: datetime, months: int) -> datetime:
    """Returns the same time of day `months` calendar months earlier; a day that the month lacks becomes its last day.

    >>> months_before(datetime(2026, 5, 31), 3).isoformat()
    '2026-02-28T00:00:00'
    """
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last_day))


def may_round_up(text: bytes) -> bool:
    """Whether msgspec may round a time in the text up to the next second, which `parse_timestamp` does not."""
    return text.rfind(_LAST_MICROSECOND) >= 0


def _convert(value: Any) -> datetime:
    if isinstance(value, str):
        if _LAST_MICROSECOND_DIGITS in value:
            value = _PAST_LAST_MICROSECOND.sub(r"\1", value)
        if len(value) == _DATE_LENGTH and _DATE.fullmatch(value):
            value += "T00:00:00Z"
        elif value.endswith(" UTC"):
            value = value.removesuffix(" UTC") + "Z"
        return msgspec.convert(value, datetime)
    if isinstance(value, bool):
        raise msgspec.ValidationError("a boolean is not a time")
    return msgspec.convert(value, datetime, strict=False)
