"""Cursors: a position in a connection, as clients hold it."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from functions.graphql.query.aggregation import UserPosition
from functions.graphql.query.days import FIRST_DAY, LAST_DAY
from functions.graphql.query.store import EventPosition

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_BYTES = 8
_VALUES = range(-(2**127), 2**127)
_USER_IDS = range(2**63)


def to_cursor(position: EventPosition) -> str:
    """The position among events as an opaque text."""
    microseconds = (position.timestamp - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(microseconds.to_bytes(_TIME_BYTES, signed=True) + position.id.bytes).decode()


def from_cursor(cursor: str) -> EventPosition:
    """The position that `to_cursor` wrote.

    Raises:
        ValueError: it wrote no such text.
    """
    try:
        content = base64.b64decode(cursor, altchars=b"-_", validate=True)
        microseconds = int.from_bytes(content[:_TIME_BYTES], signed=True)
        position = EventPosition(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=content[_TIME_BYTES:]))
    except (binascii.Error, ValueError, OverflowError) as error:
        raise ValueError("this connection has none like it") from error
    if not FIRST_DAY <= position.timestamp.date() <= LAST_DAY:
        raise ValueError("this connection has none like it")
    return position


def to_user_cursor(sort: str, position: UserPosition) -> str:
    """The position among users, sorted by what `sort` names, as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode((sort, str(position.value), position.user_id))).decode()


def from_user_cursor(sort: str, cursor: str) -> UserPosition:
    """The position that `to_user_cursor` wrote.

    Raises:
        ValueError: it wrote no such text, or for another sort.
    """
    try:
        content = base64.b64decode(cursor, altchars=b"-_", validate=True)
        sorted_by, digits, user_id = msgspec.json.decode(content, type=tuple[str, str, int])
        value = int(digits)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise ValueError("this connection has none like it") from error
    if sorted_by != sort or value not in _VALUES or user_id not in _USER_IDS:
        raise ValueError("it is of another order")
    return UserPosition(value, user_id)
