"""Reads the dead-letter queue, and redrives its messages to the queue."""

from collections.abc import Iterator, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any

import msgspec

from functions.ingest.message.origin import ATTRIBUTE, Origin, origin_or_own
from functions.shared import queue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef

_HIDDEN_SECONDS = 60  # other receivers don't see a message while it is read or sent
_MAX_BATCH_MESSAGES = 10


class NoDeadLetterQueue(Exception):
    """The queue has no dead-letter queue."""


class DeadLetter(msgspec.Struct):
    """A message that the consumer failed to process.

    Attributes:
        origin: original id and sent time, kept when the message is redriven.
        receives: number of receives from the queue and the dead-letter queue.
        receipt: SQS receipt handle, to delete the message or make it visible again.
        group: group of the message, kept when the message is redriven; None if it has none.
    """

    id: str
    origin: Origin
    receives: int
    body: str
    attributes: "dict[str, MessageAttributeValueOutputTypeDef]"
    receipt: str
    group: str | None = None


class RedriveSummary(msgspec.Struct):
    """Numbers of messages that the queue accepted, and of messages that it did not accept, which stay dead letters."""

    sent: int = 0
    unsent: int = 0


def dead_letter_queue_url(client: "SQSClient", queue_url: str) -> str:
    """Returns the URL of the dead-letter queue that the redrive policy names.

    Raises:
        NoDeadLetterQueue: the queue has no redrive policy.
    """
    answer = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["RedrivePolicy"])
    policy: dict[str, Any] = msgspec.json.decode(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
    if "deadLetterTargetArn" not in policy:
        raise NoDeadLetterQueue("The queue has no dead-letter queue.")
    name = policy["deadLetterTargetArn"].rpartition(":")[2]
    return client.get_queue_url(QueueName=name)["QueueUrl"]


def count(client: "SQSClient", queue_url: str) -> int:
    """Returns the approximate number of messages of a queue, including hidden ones."""
    depth = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    return int(depth["ApproximateNumberOfMessages"]) + int(depth["ApproximateNumberOfMessagesNotVisible"])


def peek(client: "SQSClient", dead_letter_url: str, limit: int) -> list[DeadLetter]:
    """Returns up to `limit` messages without removing them; other receivers don't see them meanwhile."""
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
    """Sends all messages to the queue unchanged, and deletes each after sending it.

    SQS gives a redriven message a new id and time. Event ids derive from the original ones, so these travel as a
    message attribute: a message that is sent twice because a crash left it undeleted adds no second event.
    """
    done = RedriveSummary()
    unsent: dict[str, str] = {}
    try:
        for letters in _received(client, dead_letter_url, unsent):
            bodies = [letter.body.encode() for letter in letters]
            attributes = [letter.attributes | {ATTRIBUTE: letter.origin.attribute} for letter in letters]
            refused = queue.send(client, queue_url, bodies, attributes, [letter.group for letter in letters])
            unsent.update((letters[index].id, letters[index].receipt) for index in refused)
            _delete(client, dead_letter_url, [letter for index, letter in enumerate(letters) if index not in refused])
            done.sent += len(letters) - len(refused)
    finally:
        _show_again(client, dead_letter_url, list(unsent.values()))
    done.unsent = len(unsent)
    return done


def _received(client: "SQSClient", url: str, known: dict[str, str]) -> Iterator[list[DeadLetter]]:
    """Yields batches of messages until only known ones arrive."""
    while letters := [letter for letter in _receive(client, url, _MAX_BATCH_MESSAGES) if letter.id not in known]:
        yield letters


def _receive(client: "SQSClient", url: str, max_messages: int) -> list[DeadLetter]:
    answer = client.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=max_messages,
        VisibilityTimeout=_HIDDEN_SECONDS,
        WaitTimeSeconds=1,  # long polling queries all of SQS's servers
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return [_letter(message) for message in answer.get("Messages", [])]


def _letter(message: "MessageTypeDef") -> DeadLetter:
    attributes = message.get("MessageAttributes", {})
    system_attributes = message["Attributes"]
    text = attributes[ATTRIBUTE].get("StringValue") if ATTRIBUTE in attributes else None
    return DeadLetter(
        message["MessageId"],
        origin_or_own(text, message["MessageId"], system_attributes["SentTimestamp"]),
        int(system_attributes["ApproximateReceiveCount"]),
        message["Body"],
        attributes,
        message["ReceiptHandle"],
        system_attributes.get("MessageGroupId"),
    )


def _delete(client: "SQSClient", url: str, letters: Sequence[DeadLetter]) -> None:
    """Deletes the messages; a message that stays is redriven again later, which is harmless."""
    if letters:
        client.delete_message_batch(
            QueueUrl=url,
            Entries=[{"Id": str(index), "ReceiptHandle": letter.receipt} for index, letter in enumerate(letters)],
        )


def _show_again(client: "SQSClient", url: str, receipts: Sequence[str]) -> None:
    """Makes the messages visible to other receivers at once."""
    for some in batched(receipts, _MAX_BATCH_MESSAGES, strict=False):
        client.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for index, receipt in enumerate(some)
            ],
        )
