"""Event ids that are made here: UUIDv7 (RFC 9562), from a time and what makes them unique."""

import hashlib
import os
from datetime import UTC, datetime
from uuid import UUID

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_OUTSIDE_VERSION_AND_VARIANT = ~(0xF << 76 | 0b11 << 62)
_UNIQUE_BYTES = 10
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
    return _identifier(milliseconds, digest[:_UNIQUE_BYTES])


def new_id(milliseconds: int) -> UUID:
    """An id that no other event has; also not one of a forked process, or of a virtual machine that was copied.

    Args:
        milliseconds: the id's time, since 1970.
    """
    return _identifier(milliseconds, os.urandom(_UNIQUE_BYTES))


def time_of(identifier: UUID) -> datetime | None:
    """The time within a UUIDv7; None for any other UUID."""
    if identifier.version != 7:
        return None
    return datetime.fromtimestamp(min(identifier.int >> 80, _LATEST_MILLISECONDS) / 1000, UTC)


def _identifier(milliseconds: int, unique: bytes) -> UUID:
    bits = milliseconds << 80 | int.from_bytes(unique)
    return UUID(int=bits & _OUTSIDE_VERSION_AND_VARIANT | _VERSION_AND_VARIANT)
