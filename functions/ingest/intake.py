"""Validates the events of a request and queues the accepted ones."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import uuid4

import msgspec

from functions.ingest.contract import MAX_MESSAGE_BYTES, Answer, EventRejection, without_noncharacters
from functions.ingest.event.event import acceptance_rules
from functions.ingest.formats.adapter import Events
from functions.ingest.formats.table import plain_events
from functions.ingest.idempotency import IdempotentRequest
from functions.ingest.judge import Judge
from functions.ingest.message.batch import Batch
from functions.ingest.turn import group_of_message
from functions.shared.catalog.registry import Registry
from functions.shared.correlation import ATTRIBUTE_BYTES
from functions.shared.grant import Grant


class Send(Protocol):
    """Sends messages to the queue."""

    def __call__(self, bodies: Sequence[bytes], *, groups: Sequence[str | None]) -> set[int]:
        """Sends messages, each with its group, and returns the indexes of the messages that could not be sent."""


class QueueUnavailable(Exception):
    """No event of the request could be queued; the sender should send the request again."""


class Intake(msgspec.Struct, frozen=True):
    """Validates and queues events.

    Attributes:
        send: sends messages to the queue.
    """

    registry: Registry
    retention_months: int
    send: Send

    def take_in(
        self, events: Events, grant: Grant, received_at: datetime, idempotency_key: str | None = None
    ) -> Answer:
        """Queues the acceptable events, and returns the outcome of each event.

        Args:
            idempotency_key: events without an id get ids derived from this key, the same for a repeated request.

        Raises:
            QueueUnavailable: the queue took none of the accepted events.
        """
        batch = Batch(str(uuid4()), received_at, [], grant=grant)
        answer = Answer(0, 0, [], [None] * len(events.raw))
        idempotent_request = IdempotentRequest(grant, idempotency_key) if idempotency_key else None
        rules = acceptance_rules(batch, self.registry, self.retention_months)
        judge = Judge(rules, answer, idempotent_request)
        if not (_goes_as_it_is(events) and judge.accepts_all(events)):
            judge.judge(_as_sent(plain_events(events)))
        self._queue(batch, judge.accepted, answer)
        answer.rejected.sort(key=lambda rejected: rejected.index)
        return answer

    def _queue(self, batch: Batch, accepted: Sequence[int], answer: Answer) -> None:
        """Sends the batch in as few messages as possible; adds the events that the queue did not take to `answer`."""
        messages = list(batch.messages(MAX_MESSAGE_BYTES - ATTRIBUTE_BYTES))
        groups = [group_of_message(message.events, message.grant) for message in messages]
        unsent = self.send([msgspec.json.encode(message) for message in messages], groups=groups)
        if messages and len(unsent) == len(messages):
            raise QueueUnavailable("The queue can't be reached; send the request again.")
        answer.accepted = len(accepted)
        for number in unsent:
            first = messages[number].first
            for index in accepted[first : first + len(messages[number].events)]:
                answer.accepted -= 1
                answer.ids[index] = None
                answer.rejected.append(
                    EventRejection(
                        index,
                        "queue_unavailable",
                        "The queue did not accept the event; send the event again.",
                        retryable=True,
                    )
                )


def _goes_as_it_is(events: Events) -> bool:
    """Whether the events form an array that goes to SQS unchanged."""
    return events.array is not None and without_noncharacters(events.array) is events.array


def _as_sent(events: Events) -> Events:
    """Returns the events exactly as they go to SQS, so that validation sees the same bytes."""
    if _goes_as_it_is(events):
        return events
    raw = [msgspec.Raw(without_noncharacters(bytes(event))) for event in events.raw]
    return events if raw == events.raw else Events(raw, events.refused)
