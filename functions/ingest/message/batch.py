"""What a message on the queue carries: events as the producer wrote them, with what is known of their arrival."""

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
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
"""How often an event was rejected until now: the column has room for one more."""


class Replayed(msgspec.Struct, frozen=True):
    """Which row of `rejected_events` a replayed event has, and how often it was rejected until then.

    Attributes:
        event_id: under which it is to be stored, where that was known.
    """

    rejected_id: UUID
    attempts: Attempts
    event_id: UUID | None = None


class Batch(msgspec.Struct, tag_field="kind", tag=KIND, omit_defaults=True):
    """Events that arrived together.

    Attributes:
        id: of the request or message they arrived in, or of what SNS or EventBridge wrapped around them.
        received_at: when that was.
        events: each one's JSON, untouched.
        first: the index of the first of them; it has others before it where a request made several messages.
        grant: the sender's; None where they were published straight on the queue.
        replayed: where they had been rejected.
        refused: why some of those are no events, by their index; a batch on its way over the queue has none.
    """

    id: str
    received_at: Annotated[datetime, msgspec.Meta(tz=True)]
    events: list[msgspec.Raw]
    first: int = 0
    grant: Grant | None = None
    replayed: Replayed | None = None
    refused: dict[int, Rejection] = {}

    @property
    def sender(self) -> Grant:
        """What the sender may touch."""
        return self.grant or TRUSTED

    def event_id(self, index: int) -> UUID:
        """The id that the event at `index` gets where it has none; it is stored as it is."""
        return derived_id(self.received_at, self.id, index)

    def stored_id(self, sent_id: UUID | None, index: int, id_space: IdSpace | None) -> UUID:
        """The id under which the event at `index` is stored.

        Args:
            sent_id: the event's own; that of a replayed event may be one that was made here.
            id_space: see `id_space_of`.
        """
        if sent_id is None:
            return self.event_id(index)
        if id_space is None:
            return sent_id
        return (self.replayed and self.replayed.event_id) or id_space.stored_id(sent_id)

    def indexed(self) -> Iterator[tuple[int, msgspec.Raw]]:
        """The events, each with its index."""
        return enumerate(self.events, self.first)

    def messages(self, limit: int) -> Iterator["Batch"]:
        """The same events in batches, as few as have at most `limit` bytes as JSON each."""
        frame = len(msgspec.json.encode(replace(self, events=[], first=len(self.events))))
        first, size = 0, frame
        for index, event in enumerate(self.events):
            size += len(event) + 1
            if size > limit and index > first:
                yield replace(self, events=self.events[first:index], first=first)
                first, size = index, frame + len(event) + 1
        if self.events:
            yield replace(self, events=self.events[first:], first=first)


_MAX_TRANSIT = timedelta(days=60)  # each of the two queues keeps a message for fourteen days
_KIND_PREFIX = b'{"kind":"%b",' % KIND.encode()
_batch_decoder = msgspec.json.Decoder(Batch)


def read_batch(body: bytes, message_id: str, sent_at: datetime) -> Batch:
    """The batch in the body of a queue message: one of ours, or events that were published straight.

    A body that can't be read becomes a batch of that body as its one event, which is refused.
    """
    if body.startswith(_KIND_PREFIX):
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
