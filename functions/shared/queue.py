"""Sends messages to the queue."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.shared import correlation
from functions.shared.failure import class_and_code

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, SendMessageBatchRequestEntryTypeDef

MAX_BATCH_ENTRIES = 10
MAX_BATCH_BYTES = 1024 * 1024
RETRY_AFTER_SECONDS = (0.1, 0.5)

RETENTION = timedelta(days=14)
"""How long SQS keeps a message, counted from when it was first sent, whichever queue it waits in."""

MAX_TRANSIT = 2 * RETENTION
"""Longest time between the first arrival of an event and its storage: a dead letter may be redriven on its last day."""

type Attributes = Mapping[str, "MessageAttributeValueOutputTypeDef"]

logger = Logger(child=True)


def send(
    client: "SQSClient",
    queue_url: str,
    bodies: Sequence[bytes],
    attributes: Sequence[Attributes] | None = None,
    groups: Sequence[str | None] | None = None,
) -> set[int]:
    """Sends each of `bodies` as a message.

    Args:
        attributes: message attributes, one mapping per body.
        groups: the group of each message, whose turn the message takes in the queue; None for no group.

    Returns:
        Indexes of the messages that the queue did not accept after retries. Once the queue can't be reached, the rest
            is not tried: further timeouts would take longer than the sender waits.
    """
    unsent: set[int] = set()
    is_reached = True
    of_each, group_of_each = attributes or [{}] * len(bodies), groups or [None] * len(bodies)
    sizes = [len(body) + _size(own) for body, own in zip(bodies, of_each, strict=True)]
    for indexes in _batches(sizes):
        left = set(indexes)
        if is_reached:
            entries = {index: _entry(index, bodies[index], of_each[index], group_of_each[index]) for index in indexes}
            left, is_reached = _send_batch(client, queue_url, entries)
        unsent |= left
    return unsent


def send_for_request(
    client: "SQSClient", queue_url: str, bodies: Sequence[bytes], groups: Sequence[str | None] | None = None
) -> set[int]:
    """Like `send`, with the id of the present request as a message attribute."""
    request_id = correlation.current()
    if request_id is None:
        return send(client, queue_url, bodies, groups=groups)
    attributes: Attributes = {correlation.ATTRIBUTE: {"DataType": "String", "StringValue": request_id}}
    return send(client, queue_url, bodies, [attributes] * len(bodies), groups)


def _entry(index: int, body: bytes, attributes: Attributes, group: str | None) -> "SendMessageBatchRequestEntryTypeDef":
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(index), "MessageBody": body.decode()}
    if attributes:
        entry["MessageAttributes"] = attributes
    if group is not None:
        entry["MessageGroupId"] = group
    return entry


def _size(attributes: Attributes) -> int:
    """Returns the attributes' share of a message's size as SQS counts it: names, types and values."""
    return sum(
        len(name.encode())
        + len(value["DataType"].encode())
        + len(value.get("StringValue", "").encode())
        + len(value.get("BinaryValue", b""))
        for name, value in attributes.items()
    )


def _batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Splits indexes of messages into batches that fit in one SendMessageBatch call."""
    batch: list[int] = []
    total = 0
    for index, size in enumerate(sizes):
        if len(batch) == MAX_BATCH_ENTRIES or total + size > MAX_BATCH_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += size
    if batch:
        yield batch


def _send_batch(
    client: "SQSClient", queue_url: str, unsent: dict[int, "SendMessageBatchRequestEntryTypeDef"]
) -> tuple[set[int], bool]:
    """Returns the indexes of messages that the queue did not accept, and whether it can be reached."""
    for pause in (*RETRY_AFTER_SECONDS, None):
        try:
            answer = client.send_message_batch(QueueUrl=queue_url, Entries=list(unsent.values()))
        except (BotoCoreError, ClientError) as error:
            logger.warning(
                "Sending a batch of messages failed", extra={"messages": len(unsent), "reason": class_and_code(error)}
            )
            return set(unsent), isinstance(error, ClientError)
        failed = answer.get("Failed", [])
        unsent = {int(entry["Id"]): unsent[int(entry["Id"])] for entry in failed}
        if not unsent:
            break
        logger.warning("The queue refused messages of a batch", extra={"reasons": [entry["Code"] for entry in failed]})
        if pause is None or all(entry["SenderFault"] for entry in failed):
            break
        time.sleep(pause)
    return set(unsent), True
