"""Taking in what came by HTTPS: each event is judged, and the accepted ones go to the queue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID, uuid4

import msgspec

from functions.shared.batch import Batch, split_events, without_noncharacters
from functions.shared.event import read_event
from functions.shared.grant import Grant
from functions.shared.registry import Registry
from functions.shared.rejection import Rejection
from functions.shared.wire import Attributes, attributes_of, contents_of

MAX_EVENTS = 10_000
MAX_BODY_BYTES = 20 * 1024 * 1024
MAX_MESSAGE_BYTES = 256 * 1024
_READ_AT_ONCE = 100

type Send = Callable[[Sequence[bytes]], set[int]]
"""Sends messages, and returns the indexes of those that could not be sent."""


class TooLarge(Exception):
    """The request has more events or bytes than one may have."""


class QueueUnavailable(Exception):
    """Nothing of the request could be queued: it should be sent again."""


class RejectedEvent(msgspec.Struct):
    """Why the event at `index` of the request was not accepted; a `retryable` one may be sent again as it is."""

    index: int
    code: str
    message: str
    retryable: bool = False


class Answer(msgspec.Struct):
    """What became of each event of a request; `ids` has null for those that were not accepted."""

    accepted: int
    ignored: int
    rejected: list[RejectedEvent]
    ids: list[UUID | None]

    @property
    def status(self) -> int:
        """The HTTP status that says so."""
        if not self.rejected:
            return 202
        return 207 if self.accepted or self.ignored else 400


@dataclass(frozen=True, slots=True)
class Intake:
    """What judges and queues events.

    Attributes:
        send: puts messages on the queue.
    """

    registry: Registry
    retention_months: int
    send: Send

    def take_in(self, body: bytes, grant: Grant, received_at: datetime) -> Answer:
        """Queues the events in `body` that can be accepted, and says of each what became of it.

        Raises:
            Rejection: the body is not JSON.
            TooLarge: over 10,000 events, or 20 MB.
            QueueUnavailable: none of the accepted events could be queued.
        """
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"The body has {len(body)} bytes; at most {MAX_BODY_BYTES} are allowed.")
        events = split_events(without_noncharacters(body))
        if len(events) > MAX_EVENTS:
            raise TooLarge(f"The body has {len(events)} events; at most {MAX_EVENTS} are allowed.")
        batch = Batch(str(uuid4()), received_at, [], grant=grant)
        answer = Answer(0, 0, [], [None] * len(events))
        accepted = self._judge(events, batch, answer)
        self._queue(batch, accepted, answer)
        answer.rejected.sort(key=lambda rejected: rejected.index)
        return answer

    def _judge(self, events: Sequence[msgspec.Raw], batch: Batch, answer: Answer) -> list[int]:
        """Moves the accepted events to `batch` and returns their indexes; `answer` gets the others."""
        accepted: list[int] = []
        for index, (raw, attributes, content) in enumerate(_read(events)):
            try:
                event = read_event(raw, len(accepted), batch, self.registry, self.retention_months, attributes, content)
            except Rejection as rejection:
                answer.rejected.append(RejectedEvent(index, rejection.code, rejection.message))
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
                    RejectedEvent(
                        index, "queue_unavailable", "The queue did not take it; send it again.", retryable=True
                    )
                )


def _read(events: Sequence[msgspec.Raw]) -> Iterator[tuple[msgspec.Raw, Attributes | None, dict[str, Any] | None]]:
    """The events with what they hold, as far as it can be read of many at once."""
    for some in batched(events, _READ_AT_ONCE, strict=False):
        yield from zip(some, attributes_of(some), contents_of(some), strict=True)
