"""Original id and sent time of a redriven message."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef

ATTRIBUTE = "ai_usage_events.arrival"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""No earlier time of arrival is valid: event ids are UUIDv7, which can't represent earlier times."""
MAX_CLOCK_DIFFERENCE = timedelta(days=1)
"""Tolerated difference between the clocks of the first arrival and of the redrive."""


class Arrival(msgspec.Struct, frozen=True):
    """Id and sent time that SQS first gave to a message. Ids and times of the message's events derive from them."""

    message_id: str
    sent_at: datetime

    @property
    def attribute(self) -> "MessageAttributeValueOutputTypeDef":
        """Returns the arrival as the message attribute `ATTRIBUTE`."""
        milliseconds = round(self.sent_at.timestamp() * 1000)
        return {"DataType": "String", "StringValue": f"{milliseconds} {self.message_id}"}


def arrival_of(record: dict[str, Any]) -> Arrival:
    """Returns the arrival of a message from Lambda; for a redriven message, its first arrival."""
    attribute = record.get("messageAttributes", {}).get(ATTRIBUTE, {})
    return first_arrival(attribute.get("stringValue"), record["messageId"], record["attributes"]["SentTimestamp"])


def first_arrival(attribute: str | None, message_id: str, sent_milliseconds: str) -> Arrival:
    """Returns the arrival from the message attribute, or from the message itself if the attribute is unusable.

    Args:
        attribute: text of the attribute. A malformed one, or one later than the message itself, is ignored.
        sent_milliseconds: milliseconds since 1970, as text from SQS.
    """
    sent = Arrival(message_id, _moment(sent_milliseconds))
    first_sent, _, first_id = (attribute or "").partition(" ")
    try:
        first = Arrival(first_id, _moment(first_sent))
    except (ValueError, OverflowError, OSError):
        return sent
    return first if first_id and first.sent_at <= sent.sent_at + MAX_CLOCK_DIFFERENCE else sent


def _moment(milliseconds: str) -> datetime:
    if not milliseconds.isdecimal():
        raise ValueError(f"{milliseconds[:20]!r} is not a number of milliseconds")
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
