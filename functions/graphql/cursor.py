"""Cursors: a position among the events, as clients hold it."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

from functions.graphql.days import FIRST_DAY, LAST_DAY
from functions.graphql.event_query import Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_BYTES = 8


def to_cursor(position: Position) -> str:
    """The position as an opaque text."""
    microseconds = (position.timestamp - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(microseconds.to_bytes(_TIME_BYTES, signed=True) + position.id.bytes).decode()


def from_cursor(cursor: str) -> Position:
    """The position that `to_cursor` wrote.

    Raises:
        ValueError: it wrote no such text.
    """
    try:
        content = base64.b64decode(cursor, altchars=b"-_", validate=True)
        microseconds = int.from_bytes(content[:_TIME_BYTES], signed=True)
        position = Position(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=content[_TIME_BYTES:]))
    except (binascii.Error, ValueError, OverflowError) as error:
        raise ValueError("it is no cursor") from error
    if not FIRST_DAY <= position.timestamp.date() <= LAST_DAY:
        raise ValueError("it is no cursor of an event")
    return position
