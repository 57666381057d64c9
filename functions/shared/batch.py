"""What a message on the queue carries: events as the producer wrote them, with what is known of their arrival."""

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec.structs import replace

from functions.shared.grant import TRUSTED, Grant
from functions.shared.identifier import derived_id
from functions.shared.rejection import Rejection

KIND = "ai_usage_events.batch"


class Replayed(msgspec.Struct, frozen=True):
    """Which row of `rejected_events` a replayed event has, and how often it was rejected until then."""

    rejected_id: UUID
    attempts: int


class Batch(msgspec.Struct, tag_field="kind", tag=KIND, omit_defaults=True):
    """Events that arrived together.

    Attributes:
        id: of the request or message they arrived in.
        received_at: when that was.
        events: each one's JSON, untouched.
        first: the position of the first of them; it has others before it where a request made several messages.
        grant: the sender's; None where they were published straight on the queue.
        replayed: where they had been rejected.
    """

    id: str
    received_at: Annotated[datetime, msgspec.Meta(tz=True)]
    events: list[msgspec.Raw]
    first: int = 0
    grant: Grant | None = None
    replayed: Replayed | None = None

    @property
    def sender(self) -> Grant:
        """What the sender may touch."""
        return self.grant or TRUSTED

    def event_id(self, position: int) -> UUID:
        """The id that the event at `position` gets where it has none."""
        return derived_id(self.received_at, self.id, position)

    def positioned(self) -> Iterator[tuple[int, msgspec.Raw]]:
        """The events, each with its position."""
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


_LONGEST_WAY = timedelta(days=60)  # each of the two queues keeps a message for fourteen days
_KIND_PREFIX = b'{"kind":"%b",' % KIND.encode()
_batch_decoder = msgspec.json.Decoder(Batch)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)


def read_batch(body: bytes, message_id: str, sent_at: datetime) -> Batch:
    """The batch in the body of a queue message: one of ours, or events that were published straight.

    A body that can't be read becomes a batch of that body as its one event, to be rejected as such.
    """
    if body.startswith(_KIND_PREFIX):
        with contextlib.suppress(msgspec.DecodeError):
            batch = _batch_decoder.decode(body)
            if abs(batch.received_at - sent_at) < _LONGEST_WAY:
                return batch
    try:
        events = split_events(body)
    except Rejection:
        events = [msgspec.Raw(body)]
    return Batch(message_id, sent_at, events)


def split_events(body: bytes) -> list[msgspec.Raw]:
    """The events of a JSON array, or the one event that `body` is; each is only known to be JSON.

    Raises:
        Rejection: `invalid_json`, `too_deep`.
    """
    is_array = body.lstrip(b" \t\r\n").startswith(b"[")
    try:
        return _list_decoder.decode(body) if is_array else [_raw_decoder.decode(body)]
    except msgspec.DecodeError as error:
        if is_array and rb"\u" in body:
            return _split_with_lone_surrogates(body)
        raise Rejection("invalid_json", f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise Rejection("too_deep", "Objects and arrays are nested too deep.") from error


def without_noncharacters(body: bytes) -> bytes:
    """`body` with U+FFFE and U+FFFF, which SQS refuses, as JSON's escapes."""
    return body.replace(b"\xef\xbf\xbe", rb"\ufffe").replace(b"\xef\xbf\xbf", rb"\uffff")


def _split_with_lone_surrogates(body: bytes) -> list[msgspec.Raw]:
    """As `split_events`, for arrays where a string may have been cut within a character.

    msgspec refuses the whole array; only the event at fault should be.
    """
    try:
        texts = [json.dumps(event, ensure_ascii=False) for event in json.loads(body)]
        return [msgspec.Raw(text.encode(errors="backslashreplace")) for text in texts]
    except (ValueError, RecursionError) as error:
        raise Rejection("invalid_json", f"The body is not JSON: {error}.") from error
