"""Page cursors: encode a position among events or users as an opaque text, and decode the text."""

import base64
import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from functions.graphql.query.aggregation import UserPosition
from functions.graphql.query.days import FIRST_DAY, LAST_DAY
from functions.graphql.query.store import EventPosition
from functions.shared.timestamp import to_microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_BYTES = 8
_VALUES = range(-(2**127), 2**127)
_USER_IDS = range(2**63)
_MAX_DECIMAL = Decimal(10) ** 60
MALFORMED = "the text is malformed"


def to_cursor(position: EventPosition) -> str:
    """The cursor of a position among events."""
    microseconds = to_microseconds(position.timestamp)
    return to_text(microseconds.to_bytes(_TIME_BYTES, signed=True) + position.id.bytes)


def from_cursor(cursor: str) -> EventPosition:
    """The position of a cursor that `to_cursor` made.

    Raises:
        ValueError: the text is not such a cursor.
    """
    content = from_text(cursor)
    try:
        microseconds = int.from_bytes(content[:_TIME_BYTES], signed=True)
        position = EventPosition(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=content[_TIME_BYTES:]))
    except (ValueError, OverflowError) as error:
        raise ValueError(MALFORMED) from error
    if not FIRST_DAY <= position.timestamp.date() <= LAST_DAY:
        raise ValueError(MALFORMED)
    return position


def to_user_cursor(sort: str, position: UserPosition) -> str:
    """The cursor of a position among users in the order `sort`."""
    return to_text(msgspec.json.encode((sort, str(position.value), position.user_id)))


def from_user_cursor(sort: str, cursor: str) -> UserPosition:
    """The position of a cursor that `to_user_cursor` made.

    Raises:
        ValueError: the text is not such a cursor, or belongs to another order.
    """
    content = from_text(cursor)
    try:
        sorted_by, digits, user_id = msgspec.json.decode(content, type=tuple[str, str, int])
        value = int(digits)
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError(MALFORMED) from error
    if sorted_by != sort or value not in _VALUES or user_id not in _USER_IDS:
        raise ValueError("it belongs to another order")
    return UserPosition(value, user_id)


def to_row_cursor(shape: bytes, values: Sequence[Any]) -> str:
    """The cursor of a row among the groups of an aggregation of this shape.

    Args:
        values: strings, integers, doubles, decimals, days and None.
    """
    return to_text(msgspec.json.encode((_digest(shape), *values)))


def from_row_cursor(shape: bytes, types: Sequence[Any], cursor: str) -> tuple[Any, ...]:
    """The values of a cursor that `to_row_cursor` made.

    Args:
        types: types of the values.

    Raises:
        ValueError: the text is not such a cursor, or belongs to an aggregation of another shape.
    """
    content = from_text(cursor)
    try:
        found = msgspec.json.decode(content, type=list[Any])
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError(MALFORMED) from error
    if found[:1] != [_digest(shape)]:
        raise ValueError("it belongs to other groups, or to another order")
    try:
        values = tuple(msgspec.convert(value, kind | None) for value, kind in zip(found[1:], types, strict=True))
    except (ValueError, msgspec.ValidationError) as error:
        raise ValueError(MALFORMED) from error
    if not all(map(_is_comparable, values)):
        raise ValueError(MALFORMED)
    return values


def to_text(content: bytes) -> str:
    """The cursor with this content."""
    return base64.urlsafe_b64encode(content).decode()


def from_text(cursor: str) -> bytes:
    """The content of a cursor.

    Raises:
        ValueError: the text is no cursor.
    """
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError as error:  # binascii.Error is one, and so is what a character beyond ASCII raises
        raise ValueError(MALFORMED) from error


def _is_comparable(value: Any) -> bool:
    """Whether both stores can compare with a value."""
    match value:
        case str():
            return "\0" not in value
        case int():
            return value in _USER_IDS
        case float():
            return math.isfinite(value)
        case Decimal():
            return value.is_finite() and abs(value) < _MAX_DECIMAL
        case date():
            return FIRST_DAY <= value <= LAST_DAY
    return True


def _digest(shape: bytes) -> str:
    return hashlib.blake2b(shape, digest_size=9).hexdigest()
