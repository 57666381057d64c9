"""The content of a queue message: events as received, with sender and received-at time."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec.structs import replace

from functions.ingest.formats.compression import TooLarge
from functions.ingest.formats.table import events_in, unwrapped
from functions.ingest.message.origin import EARLIEST
from functions.shared.grant import TRUSTED, Grant
from functions.shared.identifier import IdSpace, derived_id
from functions.shared.rejection import Rejection

KIND = "ai_usage_events.batch"

type Attempts = Annotated[int, msgspec.Meta(ge=0, lt=2**31 - 1)]
"""Number of earlier rejections. The database column has room for one more."""


class Replayed(msgspec.Struct, frozen=True):
    """The row of `rejected_events` of a replayed event, with its number of earlier rejections.

    Attributes:
        event_id: id under which the event is stored, if it was known at the rejection.
    """

    rejected_id: UUID
    attempts: Attempts
    event_id: UUID | None = None


class Batch(msgspec.Struct, tag_field="kind", tag=KIND, omit_defaults=True):
    """Events that arrived together.

    Attributes:
        id: id of the request or message, or of the innermost SNS or EventBridge envelope.
        received_at: when the request or message was first received.
        events: JSON of each event, unchanged.
        first: index of the first event; above 0 if a request was split into several messages.
        grant: the sender's grant; None if the events were sent directly to the queue.
        replayed: set if the event is a replay.
        refused: rejections by index; empty while a batch is on the queue.
        request_id: id of the request or message that the logs name; empty while a batch is on the queue.
    """

    id: str
    received_at: Annotated[datetime, msgspec.Meta(tz=True)]
    events: list[msgspec.Raw]
    first: int = 0
    grant: Grant | None = None
    replayed: Replayed | None = None
    refused: dict[int, Rejection] = {}
    request_id: str | None = None

    @property
    def sender(self) -> Grant:
        """Returns the sender's grant."""
        return self.grant or TRUSTED

    def event_id(self, index: int) -> UUID:
        """Returns the stored id of the event at `index` if the event has no id."""
        return derived_id(self.received_at, self.id, index)

    def stored_id(self, sent_id: UUID | None, index: int, id_space: IdSpace | None) -> UUID:
        """Returns the id under which the event at `index` is stored.

        Args:
            sent_id: the event's own id. A replayed event may carry an id that the server assigned.
            id_space: see `id_space_of`.
        """
        if sent_id is None:
            return self.event_id(index)
        if id_space is None:
            return sent_id
        return (self.replayed and self.replayed.event_id) or id_space.stored_id(sent_id)

    def indexed(self) -> Iterator[tuple[int, msgspec.Raw]]:
        """Yields the events with their indexes."""
        return enumerate(self.events, self.first)

    def messages(self, limit: int) -> Iterator["Batch"]:
        """Splits the batch into as few batches as possible, each of at most `limit` bytes as JSON."""
        room = limit - len(msgspec.json.encode(replace(self, events=[], first=len(self.events))))
        ends = list(accumulate(map(_WITH_COMMA, map(len, self.events))))
        first = before = 0
        while first < len(ends):
            end = max(bisect_right(ends, before + room, first), first + 1)
            yield replace(self, events=self.events[first:end], first=first)
            first, before = end, ends[end - 1]


_WITH_COMMA = (1).__add__  # the size of an event and a comma

_MAX_TRANSIT = timedelta(days=60)  # each of the two queues keeps a message for at most fourteen days
_KIND_PREFIX = f'{{"kind":"{KIND}",'
_batch_decoder = msgspec.json.Decoder(Batch)


def is_read_soon(body: str) -> bool:
    """Whether the body of a queue message is one that the ingest function wrote, which needs no unpacking."""
    return body.startswith(_KIND_PREFIX)


def read_batch(body: bytes, message_id: str, sent_at: datetime) -> Batch:
    """Returns the batch in the body of a queue message: one written by the ingest function, or events sent directly.

    A body that can't be read becomes a batch with the body as its only event, marked as refused.
    """
    if body.startswith(_KIND_PREFIX.encode()):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            batch = _batch_decoder.decode(body)
            if batch.received_at >= EARLIEST and abs(batch.received_at - sent_at) < _MAX_TRANSIT:
                return batch
    content, source_id = unwrapped(body, message_id)
    try:
        events = events_in(content)
    except Rejection as rejection:
        return Batch(source_id, sent_at, [msgspec.Raw(body)], refused={0: rejection})
    except TooLarge as error:
        return Batch(source_id, sent_at, [msgspec.Raw(body)], refused={0: Rejection("too_large", str(error))})
    return Batch(source_id, sent_at, events.raw, refused=events.refused)
