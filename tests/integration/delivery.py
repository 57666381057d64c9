"""Delivers a queue's messages to a function, as Lambda does."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.operations.dead_letters import count
from infra.stack_file import REGION
from tests.support.lambda_context import FakeContext

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

MAX_MESSAGES = 10  # in one answer of SQS
WAIT_SECONDS = 3  # longer than a message stays invisible

type Handler = Callable[[dict[str, Any], FakeContext], dict[str, Any]]


class LocalStackQueues(NamedTuple):
    """A queue and its dead-letter queue on LocalStack."""

    sqs: "SQSClient"
    url: str
    dead_letter_url: str

    def deliver(self, handler: Handler) -> list[str]:
        """Passes one batch to the function, deletes the messages that it does not report, and returns the bodies."""
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=MAX_MESSAGES,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return []
        reported = handler({"Records": [_record(message) for message in messages]}, FakeContext())
        kept = {failure["itemIdentifier"] for failure in reported["batchItemFailures"]}
        for message in messages:
            if message["MessageId"] not in kept:
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in messages]

    def deliver_all(self, handler: Handler) -> list[str]:
        """Delivers batches until none is left, and returns the bodies of all."""
        bodies = []
        while self.waiting(self.url):
            bodies += self.deliver(handler)
        return bodies

    def waiting(self, url: str) -> int:
        """Returns the number of messages in a queue, including received ones that may come back."""
        return count(self.sqs, url)


def _record(message: "MessageTypeDef") -> dict[str, Any]:
    """Returns a message as Lambda passes it to the function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": message.get("MessageAttributes", {}),
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "awsRegion": REGION,
    }
