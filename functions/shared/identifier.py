"""Makes event ids (RFC 9562), from a time and unique bytes or from an id that was sent."""

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
_PACKED_UUID = bytes((0xC4, _UUID_BYTES))  # MessagePack header: binary data and its length
_UNIQUE_BYTES = 10
_MAX_MILLISECONDS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)  # Python's datetime ends in 9999

_decoder = msgspec.msgpack.Decoder(UUID)  # much faster than UUID(int=...)


def derived_id(moment: datetime, source: str, position: int) -> UUID:
    """Returns the id of the event at `position` of `source`, the same on each call.

    Args:
        moment: when the source was received; becomes the id's time, in milliseconds.
        source: identifier of the message or request, like SQS's message id.
        position: the event's index within the source.
    """
    milliseconds = int(moment.timestamp() * 1000)
    digest = hashlib.sha256(f"{source}/{position}".encode()).digest()
    return _identifier(milliseconds, digest[:_UNIQUE_BYTES])


def new_id(milliseconds: int) -> UUID:
    """Returns a random UUIDv7, unique also across forked processes and copied virtual machines.

    Args:
        milliseconds: the id's time, in milliseconds since 1970.
    """
    return _identifier(milliseconds, os.urandom(_UNIQUE_BYTES))


def time_of(identifier: UUID) -> datetime | None:
    """Returns the time of a UUIDv7; None for any other UUID."""
    if identifier.version != 7:
        return None
    return datetime.fromtimestamp(min(identifier.int >> 80, _MAX_MILLISECONDS) / 1000, UTC)


class IdSpace:
    """Derives stored ids from sent ids, so that two tenants never share a stored id.

    Nobody can construct an id that is stored as an id of a space without being allowed to send into the space: a stored
    id is a hash of 122 bits, or of 74 bits beside the time of a UUIDv7.

    Args:
        names: unique name of the space.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._hash = hashlib.sha256(msgspec.json.encode(names))  # JSON marks its own end, so no sent id can extend it

    def stored_id(self, sent_id: UUID) -> UUID:
        """Returns the id to store: the same for the same sent id, different in every other space.

        A UUIDv7 stays a UUIDv7 with the same time; any other UUID becomes a UUIDv8.
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
