"""Event ids that the server makes: UUIDv7 (RFC 9562), from a time and what makes them unique."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_OUTSIDE_VERSION_AND_VARIANT = ~(0xF << 76 | 0b11 << 62)
_LATEST_MILLISECONDS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)  # Python knows none of later years


def derived_id(moment: datetime, source: str, position: int) -> UUID:
    """The id of the event at `position` of `source`: the same, however often it is asked for.

    Args:
        moment: when the source arrived; becomes the id's time, in milliseconds.
        source: what identifies the message or request, like SQS's message id.
        position: the event's index within it.
    """
    milliseconds = int(moment.timestamp() * 1000)
    digest = hashlib.sha256(f"{source}/{position}".encode()).digest()
    bits = milliseconds << 80 | int.from_bytes(digest[:10])
    return UUID(int=bits & _OUTSIDE_VERSION_AND_VARIANT | _VERSION_AND_VARIANT)


def time_of(identifier: UUID) -> datetime | None:
    """The time within a UUIDv7; None for any other UUID."""
    if identifier.version != 7:
        return None
    return datetime.fromtimestamp(min(identifier.int >> 80, _LATEST_MILLISECONDS) / 1000, UTC)
