"""Sending to the queue."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_BATCH_ENTRIES = 10
MAX_BATCH_BYTES = 1024 * 1024
RETRY_AFTER_SECONDS = (0.1, 0.5)

logger = Logger(child=True)


def send(client: "SQSClient", queue_url: str, bodies: Sequence[bytes]) -> set[int]:
    """Sends each of `bodies` as a message.

    Returns:
        The indexes of those that the queue did not take, after retries.
    """
    unsent: set[int] = set()
    for group in _groups(bodies):
        unsent |= _send_group(client, queue_url, {index: bodies[index].decode() for index in group})
    return unsent


def _groups(bodies: Sequence[bytes]) -> Iterator[list[int]]:
    """The indexes of the bodies, in groups that SQS takes at once."""
    group: list[int] = []
    size = 0
    for index, body in enumerate(bodies):
        if len(group) == MAX_BATCH_ENTRIES or size + len(body) > MAX_BATCH_BYTES:
            yield group
            group, size = [], 0
        group.append(index)
        size += len(body)
    if group:
        yield group


def _send_group(client: "SQSClient", queue_url: str, unsent: dict[int, str]) -> set[int]:
    for pause in (*RETRY_AFTER_SECONDS, None):
        try:
            answer = client.send_message_batch(
                QueueUrl=queue_url,
                Entries=[{"Id": str(index), "MessageBody": body} for index, body in unsent.items()],
            )
        except (BotoCoreError, ClientError) as error:
            logger.warning("The queue took nothing", extra={"messages": len(unsent), "reason": str(error)})
            return set(unsent)
        failed = answer.get("Failed", [])
        unsent = {int(entry["Id"]): unsent[int(entry["Id"])] for entry in failed}
        if not unsent:
            break
        logger.warning("The queue refused messages", extra={"reasons": [entry["Code"] for entry in failed]})
        if pause is None or all(entry["SenderFault"] for entry in failed):
            break
        time.sleep(pause)
    return set(unsent)
