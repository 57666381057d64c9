"""Reads stored values as their key's declared type. Stored payloads may hold values of other types."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from functions.shared.catalog.payload import MAX_INTEGER, MIN_INTEGER
from functions.shared.catalog.payload_type import PayloadType
from functions.shared.timestamp import parse_timestamp


def typed_value(value: Any, key_type: PayloadType) -> Any:
    """The value if it has the type `key_type`, else None; in a list, None replaces each item of another type.

    >>> typed_value([1, "a"], [int])
    [1, None]
    """
    if isinstance(key_type, list):
        return [typed_value(item, key_type[0]) for item in value] if isinstance(value, list) else None
    if isinstance(key_type, dict):
        return value if isinstance(value, dict) else None
    return _READERS[key_type](value)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    """Accepts 8.0 as 8, since not every store distinguishes the two."""
    if type(value) not in (int, float) or not MIN_INTEGER <= value <= MAX_INTEGER:
        return None
    return int(value) if value == int(value) else None


def _float(value: Any) -> float | None:
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:
        return None


def _moment(value: Any) -> datetime | None:
    try:
        return parse_timestamp(value) if isinstance(value, str) else None
    except ValueError:
        return None


_READERS: dict[type, Callable[[Any], Any]] = {
    str: _string,
    int: _integer,
    float: _float,
    bool: _boolean,
    datetime: _moment,
}
