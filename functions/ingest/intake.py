"""Taking in what came by HTTPS: each event is judged, and the accepted ones go to the queue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count, repeat
from uuid import uuid4

import msgspec

from functions.ingest.contract import MAX_MESSAGE_BYTES, Answer, EventRejection, without_noncharacters
from functions.ingest.event.attributes import BaseAttributes, attributes_and_plainness, content_of
from functions.ingest.event.event import acceptance_rules, read_attributes
from functions.ingest.formats.adapter import Events
from functions.ingest.idempotency import IdempotentRequest
from functions.ingest.message.batch import Batch
from functions.shared.catalog.registry import Registry
from functions.shared.grant import Grant
from functions.shared.rejection import Rejection

_READ_AT_ONCE = 100

type Send = Callable[[Sequence[bytes]], set[int]]
"""Sends messages, and returns the indexes of those that could not be sent."""


class QueueUnavailable(Exception):
    """Nothing of the request could be queued: it should be sent again."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What judges and queues events.

    Attributes:
        send: puts messages on the queue.
    """

    registry: Registry
    retention_months: int
    send: Send

    def take_in(
        self, events: Events, grant: Grant, received_at: datetime, idempotency_key: str | None = None
    ) -> Answer:
        """Queues the events that can be accepted, and says of each what became of it.

        Args:
            idempotency_key: what makes the ids of events that have none the same when the request is sent again.

        Raises:
            QueueUnavailable: none of the accepted events could be queued.
        """
        events = _as_sent(events)
        batch = Batch(str(uuid4()), received_at, [], grant=grant)
        answer = Answer(0, 0, [], [None] * len(events.raw))
        idempotent_request = IdempotentRequest(grant, idempotency_key) if idempotency_key else None
        accepted = self._judge(events, batch, idempotent_request, answer)
        self._queue(batch, accepted, answer)
        answer.rejected.sort(key=lambda rejected: rejected.index)
        return answer

    def _judge(
        self, events: Events, batch: Batch, idempotent_request: IdempotentRequest | None, answer: Answer
    ) -> list[int]:
        """Moves the accepted events to `batch` and returns their indexes; `answer` gets the others."""
        accepted: list[int] = []
        refused, rules = events.refused, acceptance_rules(batch, self.registry, self.retention_months)
        for index, raw, attributes, is_plain in _read(events):
            try:
                if index in refused:
                    raise refused[index]
                if idempotent_request is not None:
                    raw, attributes = idempotent_request.with_id(index, raw, attributes)
                event = read_attributes(raw, len(accepted), rules, attributes)
                if event is not None and not is_plain:
                    content_of(raw)
            except Rejection as rejection:
                answer.rejected.append(EventRejection(index, rejection.code, rejection.message))
                continue
            if event is None:
                answer.ignored += 1
            else:
                answer.ids[index] = event.id
                batch.events.append(raw)
                accepted.append(index)
        return accepted

    def _queue(self, batch: Batch, accepted: Sequence[int], answer: Answer) -> None:
        """Sends the batch as few messages; `answer` gets what the queue did not take."""
        messages = list(batch.messages(MAX_MESSAGE_BYTES))
        unsent = self.send([msgspec.json.encode(message) for message in messages])
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
                        index, "queue_unavailable", "The queue did not take it; send it again.", retryable=True
                    )
                )


def _as_sent(events: Events) -> Events:
    """The events as SQS takes them, so that each is judged by what is sent."""
    text = events.array or b"".join(events.raw)
    escaped = without_noncharacters(text)
    if escaped == text:
        return events
    raw = [msgspec.Raw(without_noncharacters(bytes(event))) for event in events.raw]
    return Events(raw, events.refused, events.array and escaped)


def _read(events: Events) -> Iterator[tuple[int, msgspec.Raw, BaseAttributes | None, bool]]:
    """The events with their indexes, and what is known of each from many at once: see `attributes_and_plainness`."""
    if events.array is not None:
        attributes, is_plain = attributes_and_plainness(events.raw, events.array)
        if is_plain and None not in attributes:
            yield from zip(count(), events.raw, attributes, repeat(is_plain))
            return
    for first in range(0, len(events.raw), _READ_AT_ONCE):  # so that one event makes work of few others
        some = events.raw[first : first + _READ_AT_ONCE]
        attributes, is_plain = [None] * len(some), False
        if not events.refused:
            attributes, is_plain = attributes_and_plainness(some)
        yield from zip(count(first), some, attributes, repeat(is_plain))
