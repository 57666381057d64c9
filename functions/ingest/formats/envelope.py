"""What SNS and EventBridge wrap around a body that they put on the queue."""

from typing import Any

import msgspec

_NOTIFICATION = "Notification"
_MOST_ENVELOPES = 3  # EventBridge may send to SNS, and SNS to the queue


class Envelope(msgspec.Struct):
    """The attributes of a notification of SNS and of an event of EventBridge that are looked at.

    Attributes:
        event: what every event has that came without an envelope.
    """

    notification: Any = msgspec.field(name="Type", default=None)
    message: Any = msgspec.field(name="Message", default=None)
    message_id: Any = msgspec.field(name="MessageId", default=None)
    detail_type: Any = msgspec.field(name="detail-type", default=None)
    detail: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: Any = None
    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def content(self) -> tuple[bytes, str] | None:
        """The body within, and the envelope's own id; None where this is neither of the two."""
        if self.event is not msgspec.UNSET:
            return None
        if self.notification == _NOTIFICATION and isinstance(self.message, str) and isinstance(self.message_id, str):
            return self.message.encode(), self.message_id
        if isinstance(self.detail_type, str) and self.detail is not msgspec.UNSET and isinstance(self.id, str):
            return bytes(self.detail), self.id
        return None


_decoder = msgspec.json.Decoder(Envelope)


def unwrapped(body: bytes, message_id: str) -> tuple[bytes, str]:
    """The body as its producer sent it, and the id of the innermost envelope, or else of the message."""
    for _ in range(_MOST_ENVELOPES):
        if not body.lstrip().startswith(b"{") or (b'"Notification"' not in body and b'"detail-type"' not in body):
            break
        try:
            content = _decoder.decode(body).content
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            break
        if content is None:
            break
        body, message_id = content
    return body, message_id
