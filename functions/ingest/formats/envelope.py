"""Unwraps the envelopes of SNS and EventBridge."""

from typing import Any

import msgspec

from functions.ingest.formats.adapter import EnvelopeFormat

_NOTIFICATION = "Notification"


class _Notification(msgspec.Struct):
    """The used attributes of an SNS notification.

    Attributes:
        event: set only in plain events, which have no envelope.
    """

    kind: Any = msgspec.field(name="Type", default=None)
    message: Any = msgspec.field(name="Message", default=None)
    message_id: Any = msgspec.field(name="MessageId", default=None)
    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _BusEvent(msgspec.Struct):
    """The used attributes of an EventBridge event.

    Attributes:
        event: set only in plain events, which have no envelope.
    """

    detail_type: Any = msgspec.field(name="detail-type", default=None)
    detail: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: Any = None
    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_notification_decoder = msgspec.json.Decoder(_Notification)
_bus_event_decoder = msgspec.json.Decoder(_BusEvent)


def _notified(text: bytes) -> tuple[bytes, str] | None:
    """Returns message and id of a notification."""
    found = _decoded(_notification_decoder, text)
    if found is None or found.event is not msgspec.UNSET or found.kind != _NOTIFICATION:
        return None
    if not isinstance(found.message, str) or not isinstance(found.message_id, str):
        return None
    return found.message.encode(), found.message_id


def _detail(text: bytes) -> tuple[bytes, str] | None:
    """Returns detail and id of an EventBridge event."""
    found = _decoded(_bus_event_decoder, text)
    if found is None or found.event is not msgspec.UNSET or found.detail is msgspec.UNSET:
        return None
    if not isinstance(found.detail_type, str) or not isinstance(found.id, str):
        return None
    return bytes(found.detail), found.id


def _decoded[Decoded](decoder: msgspec.json.Decoder[Decoded], text: bytes) -> Decoded | None:
    """Returns the envelope; None if the text is not a JSON object."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


SNS = EnvelopeFormat(mark=b'"Notification"', content=_notified)
EVENT_BRIDGE = EnvelopeFormat(mark=b'"detail-type"', content=_detail)
