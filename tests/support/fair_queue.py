"""A fair queue and the poller of Lambda, as AWS documents them; emulators deliver in the order of arrival.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

MIN_IN_FLIGHT = 30
"""A tenant with fewer messages in flight is quiet."""

NOISY_SHARE = 0.1
"""A tenant with a larger share of the messages in flight is noisy, if it has enough of them."""

RECEIVED_AT_ONCE = 10
MAX_BATCH_BYTES = 6 * 1024 * 1024


@dataclass(frozen=True)
class Message:
    """A message; one without a group is of a tenant of its own."""

    id: str
    body: str
    group: str
    names_group: bool
    sent_at: float

    def record(self, epoch: float) -> dict[str, Any]:
        """Returns the message as Lambda passes it to the function.

        Args:
            epoch: the real time, in seconds, of the queue's second 0.
        """
        sent = str(round((epoch + self.sent_at) * 1000))
        group = {"MessageGroupId": self.group} if self.names_group else {}
        attributes = {"SentTimestamp": sent, "ApproximateReceiveCount": "1"} | group
        return {"messageId": self.id, "receiptHandle": self.id, "body": self.body, "attributes": attributes}


@dataclass
class FairQueue:
    """The queue; several threads may use it.

    Attributes:
        now: returns seconds.
        batch_size: messages of a full batch.
        window: seconds for which the poller waits for a full batch.
        is_fair: whether groups count; otherwise the messages are delivered in the order of arrival.
    """

    now: Callable[[], float]
    batch_size: int = 100
    window: float = 1
    is_fair: bool = True
    waiting: list[Message] = field(default_factory=list)
    in_flight: Counter[str] = field(default_factory=Counter)
    _ids: Iterator[int] = field(default_factory=count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:
        """Takes messages, as `Intake` sends them."""
        with self._lock:
            for body, group in zip(bodies, groups, strict=True):
                name = f"message-{next(self._ids)}"
                self.waiting.append(Message(name, body.decode(), group or name, group is not None, self.now()))
        return set()

    def receive(self) -> list[Message]:
        """Returns the next batch; empty if it is not full and the window is not over."""
        with self._lock:
            if not self.waiting:
                return []
            oldest = min(message.sent_at for message in islice(self.waiting, self.batch_size))
            if len(self.waiting) < self.batch_size and self.now() - oldest < self.window:
                return []
            batch: list[Message] = []
            while len(batch) < self.batch_size and (some := self._next(self.batch_size - len(batch))):
                if sum(len(message.body) for message in [*batch, *some]) > MAX_BATCH_BYTES and batch:
                    break
                batch += some
                self.in_flight.update(message.group for message in some)
                taken = {message.id for message in some}
                self.waiting = [message for message in self.waiting if message.id not in taken]
            return batch

    def done(self, batch: Sequence[Message]) -> None:
        """Deletes the messages of a batch, all of which were stored."""
        with self._lock:
            self.in_flight.subtract(message.group for message in batch)

    def _next(self, most: int) -> list[Message]:
        """Returns the messages of one receive: of quiet tenants, else of the noisy one with the fewest in flight."""
        limit, total = min(RECEIVED_AT_ONCE, most), self.in_flight.total()
        noisy = {
            group: number
            for group, number in self.in_flight.items()
            if self.is_fair and number >= MIN_IN_FLIGHT and number > NOISY_SHARE * total
        }
        quiet = list(islice((message for message in self.waiting if message.group not in noisy), limit))
        if quiet or not noisy:
            return quiet
        group = min({message.group for message in self.waiting}, key=lambda one: noisy[one], default="")
        return list(islice((message for message in self.waiting if message.group == group), limit))
