"""The queue message of a replayed event."""

import gzip
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import msgspec
from msgspec.structs import replace

from functions.ingest.contract import without_noncharacters
from functions.ingest.formats.compression import TooLarge, unpacked
from functions.ingest.message.batch import Attempts, Batch, Replayed, read_batch
from functions.ingest.message.origin import EARLIEST, MAX_CLOCK_DIFFERENCE, Origin
from functions.shared.grant import Grant
from functions.shared.rejection import Rejection

KIND = "ai_usage_events.replay"


class Replay(msgspec.Struct, tag_field="kind", tag=KIND, omit_defaults=True):
    """A row of `rejected_events` on the queue. Its event is processed as it would have been when received.

    Attributes:
        rejected_id: id of the row.
        attempts: number of rejections so far.
        received_at: when the event was first received.
        body: the event, or the whole message if it could not be read; text, because it may not be JSON.
        grant: the sender's grant; None if the event was sent directly to the queue.
        event_id: id under which the event is stored, if known, because the server may have assigned the id in the body.
        packed: `body` as gzip if the message would be too large otherwise; `body` is then empty.
    """

    rejected_id: UUID
    attempts: Attempts
    received_at: Annotated[datetime, msgspec.Meta(tz=True)]
    body: str = ""
    grant: Grant | None = None
    event_id: UUID | None = None
    packed: bytes = b""

    def message(self, max_bytes: int) -> bytes | None:
        """Returns the body of the message; None if it exceeds `max_bytes` even when packed."""
        message = without_noncharacters(msgspec.json.encode(self))
        if len(message) > max_bytes:
            message = msgspec.json.encode(replace(self, body="", packed=gzip.compress(self.body.encode())))
        return message if len(message) <= max_bytes else None

    def batch(self) -> Batch:
        """Returns the batch with the event. An event without an id gets the same id at every replay."""
        source, body = str(self.rejected_id), self.body.encode(errors="replace")
        if self.grant is None:
            batch = read_batch(body, source, self.received_at)
        else:  # the body must not be parsed as a message with another grant
            batch = Batch(source, self.received_at, [msgspec.Raw(body)], grant=self.grant)
        return replace(batch, replayed=Replayed(self.rejected_id, self.attempts, self.event_id))

    @classmethod
    def read(cls, body: bytes) -> Self | None:
        """Reads a replay from the body of a message; returns None if the body is something else."""
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


def read_message(body: bytes, origin: Origin) -> Batch:
    """Returns the batch of a replayed event, or of any other message, see `read_batch`.

    A replay that claims to have arrived after it was sent, or before 1970, was not written by this system.
    """
    replay = Replay.read(body)
    if replay and EARLIEST <= replay.received_at <= origin.sent_at + MAX_CLOCK_DIFFERENCE:
        return replay.batch()
    return read_batch(body, origin.message_id, origin.sent_at)
