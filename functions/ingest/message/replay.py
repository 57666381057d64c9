"""A rejected event on its way back: what a message on the queue carries when it is replayed."""

import gzip
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import msgspec
from msgspec.structs import replace

from functions.ingest.contract import without_noncharacters
from functions.ingest.formats.compression import TooLarge, unpacked
from functions.ingest.message.batch import Attempts, Batch, Replayed, read_batch
from functions.ingest.message.origin import EARLIEST, MAX_CLOCK_DIFFERENCE, Arrival
from functions.shared.grant import Grant
from functions.shared.rejection import Rejection

KIND = "ai_usage_events.replay"


class Replay(msgspec.Struct, tag_field="kind", tag=KIND, omit_defaults=True):
    """What a row of `rejected_events` says, so that the consumer takes the event in as it would have when it came.

    Attributes:
        rejected_id: the row's id.
        attempts: how often the event was rejected until now.
        received_at: when it first arrived.
        body: the event, or the whole message where that could not be read; a text, for it may be no JSON.
        grant: the sender's; None where it was published straight on the queue.
        event_id: under which the event is to be stored, where that is known: an id in the body may have been made here.
        packed: on the queue, the body as gzip, where the message would be too large else; it has no `body` then.
    """

    rejected_id: UUID
    attempts: Attempts
    received_at: Annotated[datetime, msgspec.Meta(tz=True)]
    body: str = ""
    grant: Grant | None = None
    event_id: UUID | None = None
    packed: bytes = b""

    def message(self, max_bytes: int) -> bytes | None:
        """The body of the message that carries it; None where that has more than `max_bytes` even if it is packed."""
        message = without_noncharacters(msgspec.json.encode(self))
        if len(message) > max_bytes:
            message = msgspec.json.encode(replace(self, body="", packed=gzip.compress(self.body.encode())))
        return message if len(message) <= max_bytes else None

    def batch(self) -> Batch:
        """The event as what arrived together with it; what has no id of its own gets the same one every time."""
        source, body = str(self.rejected_id), self.body.encode(errors="replace")
        if self.grant is None:
            batch = read_batch(body, source, self.received_at)
        else:  # never what could pass for a message of its own, with another grant
            batch = Batch(source, self.received_at, [msgspec.Raw(body)], grant=self.grant)
        return replace(batch, replayed=Replayed(self.rejected_id, self.attempts, self.event_id))

    @classmethod
    def read(cls, body: bytes) -> Self | None:
        """The replay that the body of a message is; None where it is something else."""
        if not body.startswith(_KIND_PREFIX):
            return None
        try:
            replay = msgspec.json.decode(body, type=cls)
            if replay.packed:
                replay = replace(replay, body=unpacked(replay.packed).decode(), packed=b"")
        except (msgspec.DecodeError, RecursionError, Rejection, TooLarge, UnicodeDecodeError):
            return None
        return replay


_KIND_PREFIX = b'{"kind":"%b",' % KIND.encode()


def read_message(body: bytes, arrival: Arrival) -> Batch:
    """The batch in the body of a queue message: of a replayed event, or what `read_batch` makes of it.

    What says that it arrived after it was sent, or before there were computers, is no replay of ours.
    """
    replay = Replay.read(body)
    if replay and EARLIEST <= replay.received_at <= arrival.sent_at + MAX_CLOCK_DIFFERENCE:
        return replay.batch()
    return read_batch(body, arrival.message_id, arrival.sent_at)
