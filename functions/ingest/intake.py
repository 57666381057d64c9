"""Validates the events of a request and queues the accepted ones."""

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
"""Sends messages, and returns the indexes of the messages that could not be sent."""


class QueueUnavailable(Exception):
    """No event of the request could be queued; the sender should send the request again."""


@dataclass(frozen=True, slots=True)
class Intake:
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
        """Adds the accepted events to `batch` and returns their indexes; adds the other events to `answer`."""
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
        """Sends the batch in as few messages as possible; adds the events that the queue did not take to `answer`."""
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
                        index,
                        "queue_unavailable",
                        "The queue did not accept the event; send the event again.",
                        retryable=True,
                    )
                )


def _as_sent(events: Events) -> Events:
    """Returns the events exactly as they go to SQS, so that validation sees the same bytes."""
    text = events.array or b"".join(events.raw)
    escaped = without_noncharacters(text)
    if escaped == text:
        return events
    raw = [msgspec.Raw(without_noncharacters(bytes(event))) for event in events.raw]
    return Events(raw, events.refused, events.array and escaped)


def _read(events: Events) -> Iterator[tuple[int, msgspec.Raw, BaseAttributes | None, bool]]:
    """Yields index, event, base attributes if decoded in bulk, and whether the event can certainly be stored.

    See `attributes_and_plainness`.
    """
    if events.array is not None:
        attributes, is_plain = attributes_and_plainness(events.raw, events.array)
        if is_plain and None not in attributes:
            yield from zip(count(), events.raw, attributes, repeat(is_plain))
            return
    for first in range(0, len(events.raw), _READ_AT_ONCE):  # small groups: a faulty event makes only its own group slow
        some = events.raw[first : first + _READ_AT_ONCE]
        attributes, is_plain = [None] * len(some), False
        if not events.refused:
            attributes, is_plain = attributes_and_plainness(some)
        yield from zip(count(first), some, attributes, repeat(is_plain))
