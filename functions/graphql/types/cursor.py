"""Page cursors: encode a position among events or users as an opaque text, and decode the text."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
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
_MALFORMED = "the text is malformed"


def to_cursor(position: EventPosition) -> str:
    """The cursor of a position among events."""
    microseconds = to_microseconds(position.timestamp)
    return base64.urlsafe_b64encode(microseconds.to_bytes(_TIME_BYTES, signed=True) + position.id.bytes).decode()


def from_cursor(cursor: str) -> EventPosition:
    """The position of a cursor that `to_cursor` made.

    Raises:
        ValueError: the text is not such a cursor.
    """
    try:
        content = base64.b64decode(cursor, altchars=b"-_", validate=True)
        microseconds = int.from_bytes(content[:_TIME_BYTES], signed=True)
        position = EventPosition(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=content[_TIME_BYTES:]))
    except (binascii.Error, ValueError, OverflowError) as error:
        raise ValueError(_MALFORMED) from error
    if not FIRST_DAY <= position.timestamp.date() <= LAST_DAY:
        raise ValueError(_MALFORMED)
    return position


def to_user_cursor(sort: str, position: UserPosition) -> str:
    """The cursor of a position among users in the order `sort`."""
    return base64.urlsafe_b64encode(msgspec.json.encode((sort, str(position.value), position.user_id))).decode()


def from_user_cursor(sort: str, cursor: str) -> UserPosition:
    """The position of a cursor that `to_user_cursor` made.

    Raises:
        ValueError: the text is not such a cursor, or belongs to another order.
    """
    try:
        content = base64.b64decode(cursor, altchars=b"-_", validate=True)
        sorted_by, digits, user_id = msgspec.json.decode(content, type=tuple[str, str, int])
        value = int(digits)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise ValueError(_MALFORMED) from error
    if sorted_by != sort or value not in _VALUES or user_id not in _USER_IDS:
        raise ValueError("it belongs to another order")
    return UserPosition(value, user_id)
