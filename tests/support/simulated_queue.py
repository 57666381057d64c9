"""A queue and Lambda's poller on a simulated clock, as AWS documents them.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from functions.ingest.consumer_handler import ConsumerHandler
from functions.ingest.redelivery import Redelivery

MAX_IN_FLIGHT = 120_000
MAX_ENTRIES = 10
TWELVE_HOURS = 12 * 60 * 60


@dataclass
class Message:
    """A message with its times in simulated seconds."""

    body: str
    sent_at: int
    visible_at: float
    id: str = field(default_factory=lambda: str(uuid4()))
    receives: int = 0

    @property
    def receipt(self) -> str:
        """The receipt handle of the last receive."""
        return f"{self.id} {self.receives}"


@dataclass
class SimulatedQueue:
    """A standard queue with a dead-letter queue; also the client that the consumer calls.

    Attributes:
        epoch: the real time, in seconds, of the simulated second 0.
        invocations: simulated times of the consumer's invocations.
        is_reachable: whether the consumer can call SQS.
    """

    epoch: float
    visibility_timeout: int = 360
    max_receives: int = 1000
    concurrency: int = 10
    batch_size: int = 100
    now: int = 0
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    invocations: list[int] = field(default_factory=list)
    free_at: list[float] = field(default_factory=list)
    most_in_flight: int = 0
    error: Exception | None = None
    paused: float = 0

    def redelivery(self) -> Redelivery:
        """Returns what delays messages in this queue, and whose pauses take simulated time."""
        return Redelivery("https://queue", lambda: self, sleep=self._pause)  # type: ignore[arg-type,return-value]

    def send(self, *bodies: str) -> None:
        """Publishes messages now."""
        self.messages += [Message(body, self.now, self.now) for body in bodies]

    def pass_seconds(self, seconds: int, consumer: Callable[[dict[str, Any], None], Any]) -> None:
        """Lets seconds pass, in which Lambda passes what is visible to the consumer."""
        self.free_at = self.free_at or [0.0] * self.concurrency
        for _ in range(seconds):
            for slot in [number for number, free_at in enumerate(self.free_at) if free_at <= self.now]:
                batch = self._receive()
                if not batch:
                    break
                self.free_at[slot] = self.now + self._invoke(consumer, batch)
            self.now += 1

    def in_flight(self) -> int:
        """Returns how many messages were received and are hidden."""
        return sum(message.receives > 0 and message.visible_at > self.now for message in self.messages)

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        """Hides messages in flight for the seconds of their entries, counted from now."""
        if self.error is not None:
            raise self.error
        assert QueueUrl == "https://queue"
        assert 1 <= len(Entries) <= MAX_ENTRIES
        assert len({entry["Id"] for entry in Entries}) == len(Entries)
        by_receipt = {message.receipt: message for message in self.messages if message.visible_at > self.now}
        for entry in Entries:
            assert 0 <= entry["VisibilityTimeout"] <= TWELVE_HOURS
            by_receipt[entry["ReceiptHandle"]].visible_at = self.now + entry["VisibilityTimeout"]
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], "Failed": []}

    def _pause(self, seconds: float) -> None:
        self.paused += seconds

    def _receive(self) -> list[Message]:
        """Returns visible messages, and makes those dead letters that were received too often."""
        visible = [message for message in self.messages if message.visible_at <= self.now]
        self.dead += [message for message in visible if message.receives >= self.max_receives]
        self.messages = (
            [message for message in self.messages if message not in self.dead] if self.dead else self.messages
        )
        batch = [message for message in visible if message.receives < self.max_receives][: self.batch_size]
        room = MAX_IN_FLIGHT - self.in_flight()
        for message in batch[:room]:
            message.receives += 1
            message.visible_at = self.now + self.visibility_timeout
        self.most_in_flight = max(self.most_in_flight, self.in_flight())
        return batch[:room]

    def _invoke(self, consumer: Callable[[dict[str, Any], None], Any], batch: list[Message]) -> float:
        """Returns the simulated seconds that the invocation takes."""
        self.invocations.append(self.now)
        self.paused = 0
        try:
            answer = consumer({"Records": [self._record(message) for message in batch]}, None)
        except Exception:  # noqa: BLE001 - as Lambda does: the messages stay hidden
            return 0
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        stored = {message.id for message in batch} - failed
        self.messages = [message for message in self.messages if message.id not in stored]
        return self.paused

    def _record(self, message: Message) -> dict[str, Any]:
        sent = str(round((self.epoch + message.sent_at) * 1000))
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": {"SentTimestamp": sent, "ApproximateReceiveCount": str(message.receives)},
        }


def delaying(consumer: ConsumerHandler, queue: SimulatedQueue) -> ConsumerHandler:
    """Makes the consumer delay its messages in this queue."""
    consumer.redelivery = queue.redelivery()
    return consumer
