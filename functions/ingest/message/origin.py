"""Origin of a message: the id and sent time of its first sending, which a redriven message carries along."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef

ATTRIBUTE = "ai_usage_events.arrival"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""No message was received earlier: event ids are UUIDv7, which can't represent earlier times."""
MAX_CLOCK_DIFFERENCE = timedelta(days=1)
"""Tolerated difference between the clocks of the first sending and of the redrive."""


class Origin(msgspec.Struct, frozen=True):
    """Id and sent time that SQS first gave to a message. Ids and times of the message's events derive from them."""

    message_id: str
    sent_at: datetime

    @property
    def attribute(self) -> "MessageAttributeValueOutputTypeDef":
        """Returns the origin as the message attribute `ATTRIBUTE`."""
        milliseconds = round(self.sent_at.timestamp() * 1000)
        return {"DataType": "String", "StringValue": f"{milliseconds} {self.message_id}"}


def origin_of(record: dict[str, Any]) -> Origin:
    """Returns the origin of a message that Lambda received."""
    attribute = record.get("messageAttributes", {}).get(ATTRIBUTE, {})
    return origin_or_own(attribute.get("stringValue"), record["messageId"], record["attributes"]["SentTimestamp"])


def origin_or_own(attribute: str | None, message_id: str, sent_milliseconds: str) -> Origin:
    """Returns the origin in the message attribute, or the message's own id and sent time if the attribute is unusable.

    Args:
        attribute: text of the attribute. A malformed one, or one later than the message itself, is ignored.
        sent_milliseconds: milliseconds since 1970, as text from SQS.
    """
    sent = Origin(message_id, _moment(sent_milliseconds))
    first_sent, _, first_id = (attribute or "").partition(" ")
    try:
        first = Origin(first_id, _moment(first_sent))
    except (ValueError, OverflowError, OSError):
        return sent
    return first if first_id and first.sent_at <= sent.sent_at + MAX_CLOCK_DIFFERENCE else sent


def _moment(milliseconds: str) -> datetime:
    if not milliseconds.isdecimal():
        raise ValueError(f"{milliseconds[:20]!r} is not a number of milliseconds")
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
