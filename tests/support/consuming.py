"""A queue of moto, and the consumer between the queue and PostgreSQL."""

import json
from typing import TYPE_CHECKING, Any

import boto3

from functions.ingest.consumer_handler import ConsumerHandler

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def consume(handler: ConsumerHandler, *records: dict[str, Any]) -> list[str]:
    """Passes the messages to the function, and returns the ids that it reports as failed."""
    answer = handler({"Records": list(records)}, None)
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


class Queues:
    """A queue with a dead-letter queue, which gets messages that were received `receives` times."""

    def __init__(self, receives: int = 1) -> None:
        self.sqs: SQSClient = boto3.client("sqs")
        self.dead_letter_url = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.dead_letter_url, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": attributes["Attributes"]["QueueArn"], "maxReceiveCount": receives}
        self.url = self.sqs.create_queue(QueueName="events", Attributes={"RedrivePolicy": json.dumps(policy)})[
            "QueueUrl"
        ]

    def send(self, *bodies: str, **attributes: str) -> None:
        """Publishes messages, each with these attributes."""
        typed: Any = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=typed)

    def records(self, url: str | None = None) -> list[dict[str, Any]]:
        """Returns the waiting messages as Lambda passes them to the function; they stay in the queue."""
        received: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(
            QueueUrl=url or self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=600,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages"):
            received += [_record(message) for message in messages]
        return received

    def consume(self, handler: ConsumerHandler) -> None:
        """Passes all waiting messages to the consumer in one batch, and deletes those that it does not report."""
        records = self.records()
        if records:
            failed = consume(handler, *records)
            for record in records:
                if record["messageId"] not in failed:
                    self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=record["receiptHandle"])

    def bury(self, *bodies: str, **attributes: str) -> list[dict[str, Any]]:
        """Publishes messages that become dead letters; returns them as the function received them before."""
        self.send(*bodies, **attributes)
        records = self.records()
        for record in records:
            self.sqs.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
            )
        assert self.records() == []
        return records


def _record(message: Any) -> dict[str, Any]:
    attributes = {
        name: {"dataType": value["DataType"], "stringValue": value.get("StringValue")}
        for name, value in message.get("MessageAttributes", {}).items()
    }
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": attributes,
    }
