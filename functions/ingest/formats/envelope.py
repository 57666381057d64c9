"""What SNS and EventBridge wrap around a body that they put on the queue."""

from typing import Any

import msgspec

from functions.ingest.formats.adapter import EnvelopeFormat

_NOTIFICATION = "Notification"


class _Notification(msgspec.Struct):
    """The attributes of a notification of SNS that are looked at.

    Attributes:
        event: what every event has that came without an envelope.
    """

    kind: Any = msgspec.field(name="Type", default=None)
    message: Any = msgspec.field(name="Message", default=None)
    message_id: Any = msgspec.field(name="MessageId", default=None)
    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _BusEvent(msgspec.Struct):
    """The attributes of an event of EventBridge that are looked at.

    Attributes:
        event: what every event has that came without an envelope.
    """

    detail_type: Any = msgspec.field(name="detail-type", default=None)
    detail: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: Any = None
    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_notification_decoder = msgspec.json.Decoder(_Notification)
_bus_event_decoder = msgspec.json.Decoder(_BusEvent)


def _notified(text: bytes) -> tuple[bytes, str] | None:
    """The message of a notification, and the notification's id."""
    found = _decoded(_notification_decoder, text)
    if found is None or found.event is not msgspec.UNSET or found.kind != _NOTIFICATION:
        return None
    if not isinstance(found.message, str) or not isinstance(found.message_id, str):
        return None
    return found.message.encode(), found.message_id


def _detail(text: bytes) -> tuple[bytes, str] | None:
    """The detail of an event of EventBridge, and that event's id."""
    found = _decoded(_bus_event_decoder, text)
    if found is None or found.event is not msgspec.UNSET or found.detail is msgspec.UNSET:
        return None
    if not isinstance(found.detail_type, str) or not isinstance(found.id, str):
        return None
    return bytes(found.detail), found.id


def _decoded[Decoded](decoder: msgspec.json.Decoder[Decoded], text: bytes) -> Decoded | None:
    """The envelope; None where the text is no JSON object."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


SNS = EnvelopeFormat(mark=b'"Notification"', content=_notified)
EVENT_BRIDGE = EnvelopeFormat(mark=b'"detail-type"', content=_detail)
