"""Event ids that are made here (RFC 9562): of a time and what makes them unique, or of an id that was sent."""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

_VERSION_7_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_VERSION_8_AND_VARIANT = 0x8 << 76 | 0b10 << 62
_VERSION_AND_VARIANT_MASK = 0xF << 76 | 0b11 << 62
_OTHER_BITS_MASK = ~_VERSION_AND_VARIANT_MASK
_TIME_MASK = (1 << 48) - 1 << 80
_UNIQUE_BITS_MASK = _OTHER_BITS_MASK & ~_TIME_MASK
_UUID_BYTES = 16
_PACKED_UUID = bytes((0xC4, _UUID_BYTES))  # in MessagePack: bytes, and how many of them
_UNIQUE_BYTES = 10
_MAX_MILLISECONDS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)  # Python knows none of later years

_decoder = msgspec.msgpack.Decoder(UUID)  # far faster than to make a UUID of a number


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
    return datetime.fromtimestamp(min(identifier.int >> 80, _MAX_MILLISECONDS) / 1000, UTC)


class IdSpace:
    """Where the ids of one tenant's senders lie: the id that is stored is made of the space and the id that was sent.

    Nobody who may not send into the space finds an id that is sent into it or outside of it and is stored as one of its
    ids: it is a hash of 122 bits, or of 74 bits beside the time of a UUIDv7.

    Args:
        names: what no other space has.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._hash = hashlib.sha256(msgspec.json.encode(names))  # what comes after JSON can't be taken for a part of it

    def stored_id(self, sent_id: UUID) -> UUID:
        """The id under which an event is stored: the same for the same id, and another than in any other space.

        Of a UUIDv7 the time stays, and it becomes one again; any other UUID becomes a UUIDv8.
        """
        sent = sent_id.int
        hasher = self._hash.copy()
        hasher.update(sent.to_bytes(_UUID_BYTES))
        unique = int.from_bytes(hasher.digest()[:_UUID_BYTES])
        if sent & _VERSION_AND_VARIANT_MASK == _VERSION_7_AND_VARIANT:
            bits = sent & _TIME_MASK | unique & _UNIQUE_BITS_MASK | _VERSION_7_AND_VARIANT
        else:
            bits = unique & _OTHER_BITS_MASK | _VERSION_8_AND_VARIANT
        return _decoder.decode(_PACKED_UUID + bits.to_bytes(_UUID_BYTES))


def _identifier(milliseconds: int, unique: bytes) -> UUID:
    bits = milliseconds << 80 | int.from_bytes(unique)
    return UUID(int=bits & _OTHER_BITS_MASK | _VERSION_7_AND_VARIANT)
