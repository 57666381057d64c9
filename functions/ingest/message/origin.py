"""As what and when a message first arrived: told by one that is sent again, which has another id and time by then."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef

ATTRIBUTE = "ai_usage_events.arrival"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Before this nothing arrived: a UUIDv7, as which events get their ids, knows no earlier time."""
MAX_CLOCK_DIFFERENCE = timedelta(days=1)
"""How far the clocks may be apart that say when a message first arrived and when it was sent again."""


class Arrival(msgspec.Struct, frozen=True):
    """What SQS said of a message when it came: ids and times of its events are made of this."""

    message_id: str
    sent_at: datetime

    @property
    def attribute(self) -> "MessageAttributeValueOutputTypeDef":
        """The message attribute that tells it, to be sent as `ATTRIBUTE`."""
        milliseconds = round(self.sent_at.timestamp() * 1000)
        return {"DataType": "String", "StringValue": f"{milliseconds} {self.message_id}"}


def arrival_of(record: dict[str, Any]) -> Arrival:
    """How the message that Lambda hands over as `record` arrived: first, if it was sent again."""
    attribute = record.get("messageAttributes", {}).get(ATTRIBUTE, {})
    return first_arrival(attribute.get("stringValue"), record["messageId"], record["attributes"]["SentTimestamp"])


def first_arrival(attribute: str | None, message_id: str, sent_milliseconds: str) -> Arrival:
    """What the attribute of a message tells; else its own id and time.

    Args:
        attribute: the attribute's text; what is none of ours, or is later, counts as if it was not there.
        sent_milliseconds: since 1970, as SQS writes it.
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
        raise ValueError(f"{milliseconds[:20]!r} is no number of milliseconds")
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
