"""The dead-letter queue: what is in it, and back to the queue with it."""

from collections.abc import Iterator, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any

import msgspec

from functions.ingest.message.origin import ATTRIBUTE, Arrival, first_arrival
from functions.shared import queue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef

_HIDDEN_SECONDS = 60  # from others, while a message is looked at or sent
_MAX_BATCH_MESSAGES = 10


class NoDeadLetterQueue(Exception):
    """The queue has none."""


class DeadLetter(msgspec.Struct):
    """A message that could not be consumed.

    Attributes:
        arrival: its id, and when it was sent, for the first time if it was redriven before.
        receives: how often it was received from the dead-letter queue and the one before.
        receipt: with which it is deleted or shown to others again.
    """

    id: str
    arrival: Arrival
    receives: int
    body: str
    attributes: "dict[str, MessageAttributeValueOutputTypeDef]"
    receipt: str


class RedriveSummary(msgspec.Struct):
    """How many messages are on the queue again, and how many it did not take: those stay where they are."""

    sent: int = 0
    unsent: int = 0


def dead_letter_queue_url(client: "SQSClient", queue_url: str) -> str:
    """The queue that the queue's redrive policy names.

    Raises:
        NoDeadLetterQueue: it has no such policy.
    """
    answer = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["RedrivePolicy"])
    policy: dict[str, Any] = msgspec.json.decode(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
    if "deadLetterTargetArn" not in policy:
        raise NoDeadLetterQueue("The queue has no dead-letter queue.")
    name = policy["deadLetterTargetArn"].rpartition(":")[2]
    return client.get_queue_url(QueueName=name)["QueueUrl"]


def count(client: "SQSClient", queue_url: str) -> int:
    """About how many messages a queue holds, those included that someone looks at."""
    depth = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    return int(depth["ApproximateNumberOfMessages"]) + int(depth["ApproximateNumberOfMessagesNotVisible"])


def peek(client: "SQSClient", dead_letter_url: str, limit: int) -> list[DeadLetter]:
    """Up to `limit` of the messages, which stay where they are; others don't see them meanwhile."""
    seen: dict[str, DeadLetter] = {}
    receipts: list[str] = []
    try:
        while len(seen) < limit:
            letters = _receive(client, dead_letter_url, min(_MAX_BATCH_MESSAGES, limit - len(seen)))
            receipts += [letter.receipt for letter in letters]
            if all(letter.id in seen for letter in letters):
                break
            seen.update((letter.id, letter) for letter in letters)
    finally:
        _show_again(client, dead_letter_url, receipts)
    return list(seen.values())


def redrive(client: "SQSClient", dead_letter_url: str, queue_url: str) -> RedriveSummary:
    """Sends all the messages to the queue again as they are, and deletes each once it is sent.

    On the queue a message gets another id and time. The ones that it had, of which those of its events are made, go
    with it as an attribute: one that is sent twice, because a crash left it undeleted, is therefore no second event.
    """
    done = RedriveSummary()
    unsent: dict[str, str] = {}
    try:
        for letters in _received(client, dead_letter_url, unsent):
            bodies = [letter.body.encode() for letter in letters]
            attributes = [letter.attributes | {ATTRIBUTE: letter.arrival.attribute} for letter in letters]
            refused = queue.send(client, queue_url, bodies, attributes)
            unsent.update((letters[index].id, letters[index].receipt) for index in refused)
            _delete(client, dead_letter_url, [letter for index, letter in enumerate(letters) if index not in refused])
            done.sent += len(letters) - len(refused)
    finally:
        _show_again(client, dead_letter_url, list(unsent.values()))
    done.unsent = len(unsent)
    return done


def _received(client: "SQSClient", url: str, known: dict[str, str]) -> Iterator[list[DeadLetter]]:
    """The messages, some at a time, until none comes that is not known."""
    while letters := [letter for letter in _receive(client, url, _MAX_BATCH_MESSAGES) if letter.id not in known]:
        yield letters


def _receive(client: "SQSClient", url: str, most: int) -> list[DeadLetter]:
    answer = client.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=most,
        VisibilityTimeout=_HIDDEN_SECONDS,
        WaitTimeSeconds=1,  # asks all of SQS's servers
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return [_letter(message) for message in answer.get("Messages", [])]


def _letter(message: "MessageTypeDef") -> DeadLetter:
    attributes = message.get("MessageAttributes", {})
    said = message["Attributes"]
    told = attributes[ATTRIBUTE].get("StringValue") if ATTRIBUTE in attributes else None
    return DeadLetter(
        message["MessageId"],
        first_arrival(told, message["MessageId"], said["SentTimestamp"]),
        int(said["ApproximateReceiveCount"]),
        message["Body"],
        attributes,
        message["ReceiptHandle"],
    )


def _delete(client: "SQSClient", url: str, letters: Sequence[DeadLetter]) -> None:
    """Deletes the messages; one that stays is sent again another time, which does no harm."""
    if letters:
        client.delete_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(index), "ReceiptHandle": letter.receipt} for index, letter in enumerate(letters)],
        )


def _show_again(client: "SQSClient", url: str, receipts: Sequence[str]) -> None:
    """Lets others receive the messages at once."""
    for some in batched(receipts, _MAX_BATCH_MESSAGES, strict=False):
        client.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for index, receipt in enumerate(some)
            ],
        )
