"""Finds, reads, replays and deletes rejected events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from functions.ingest.message.replay import Replay
from functions.ingest.turn import group_of_message
from functions.shared import queue
from functions.shared.grant import Grant
from functions.shared.postgres import Connection
from infra.operations.event_name import event_name

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# The statement searches the body for the name in JSON notation; `event_name` decides whether it is the event's name.
_FIND = """
    SELECT id, CASE WHEN %(event)s::text IS NOT NULL THEN body END
    FROM rejected_events
    WHERE (%(code)s::text IS NULL OR code = %(code)s)
      AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
      AND (%(event)s::text IS NULL OR strpos(body, to_json(%(event)s::text)::text) > 0)
    ORDER BY received_at, id
"""

_READ = """
    SELECT id, event_id, request_id, received_at, source, code, message, body, sender_grant, attempts, replayed_at
    FROM rejected_events
    WHERE id = ANY(%s)
    ORDER BY received_at, id
"""

_OF_EVENT = "SELECT id FROM rejected_events WHERE event_id = %s ORDER BY received_at, id"

_OF_REQUEST = "SELECT id FROM rejected_events WHERE request_id = %s ORDER BY received_at, id"

_COUNT = """
    SELECT source, code, count(*) FILTER (WHERE replayed_at IS NULL) AS waiting,
        count(*) FILTER (WHERE replayed_at IS NOT NULL) AS replayed, min(received_at) AS oldest,
        max(received_at) AS newest, (array_agg(message ORDER BY received_at DESC, id DESC))[1] AS message
    FROM rejected_events
    WHERE id = ANY(%s)
    GROUP BY source, code
    ORDER BY source, code
"""

_HISTORY = """
    SELECT attempt, code, message, replayed_at
    FROM rejection_history
    WHERE rejected_id = %s
    ORDER BY attempt
"""

# Rows that ClickHouse refused are already stored, so the queue is no use for them. A concurrent replay skips the locked
# rows, and sees them marked afterwards.
_CLAIM = """
    SELECT id AS rejected_id, attempts, received_at, body, sender_grant, event_id
    FROM rejected_events
    WHERE id = ANY(%s) AND source <> 'sync' AND replayed_at IS NULL
    ORDER BY received_at, id
    FOR NO KEY UPDATE SKIP LOCKED
"""

_MARK = "UPDATE rejected_events SET replayed_at = now() WHERE id = ANY(%s)"

_COUNT_OF_SYNC = "SELECT count(*) FROM rejected_events WHERE id = ANY(%s) AND source = 'sync'"

_DELETE = "DELETE FROM rejected_events WHERE id = ANY(%s)"

_MAX_SENT_AT_ONCE = 50  # few, because a consumer that rejects an event again waits until it is marked
_MAX_DELETED_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """A row of `rejected_events`.

    Attributes:
        event_id: id under which the event is to be stored, as the sender was told; None if unknown.
        request_id: id of the request with which the event came, or of the message if it was sent to the queue; None if
            unknown.
    """

    id: UUID
    event_id: UUID | None
    request_id: str | None
    received_at: datetime
    source: str
    code: str
    message: str
    body: str
    sender_grant: dict[str, object] | None
    attempts: int
    replayed_at: datetime | None

    @property
    def event(self) -> str | None:
        """Name of the event; None if the body states none."""
        return event_name(self.body)


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Number of events rejected for one reason, by waiting and replayed.

    Attributes:
        message: message of the newest rejection.
    """

    source: str
    code: str
    waiting: int
    replayed: int
    oldest: datetime
    newest: datetime
    message: str


@dataclass(frozen=True, slots=True)
class FormerAttempt:
    """An earlier rejection of an event that was replayed and rejected again."""

    attempt: int
    code: str
    message: str
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """Result of a replay.

    Attributes:
        sent: number of events sent to the queue.
        unsent: number of events that the queue did not accept; they are still waiting.
        too_large: ids of events that don't fit in a message with their senders' grants; they are still waiting.
        of_sync: number of rows that ClickHouse refused.
        skipped: number of events that were already replayed, or that a concurrent replay is sending.
    """

    sent: int
    unsent: int
    too_large: Sequence[UUID]
    of_sync: int
    skipped: int


class _Claimed(NamedTuple):
    """A row to replay.

    Attributes:
        message: body of the message; None if it would be too large.
        group: group of the message; None if it has none.
    """

    rejected_id: UUID
    message: bytes | None
    group: str | None = None


def find(
    connection: Connection, code: str | None = None, event: str | None = None, since: datetime | None = None
) -> list[UUID]:
    """Returns ids of rejected events that match the code, name and earliest time of receipt; oldest first."""
    found = connection.cursor().stream(_FIND, {"code": code, "event": event, "since": since})
    return [identifier for identifier, body in found if event is None or event_name(body) == event]


def read(connection: Connection, ids: Sequence[UUID]) -> list[RejectedEvent]:
    """Returns the rows that still exist, oldest first."""
    return connection.cursor(row_factory=class_row(RejectedEvent)).execute(_READ, [ids]).fetchall()


def of_event(connection: Connection, event_id: UUID) -> list[UUID]:
    """Returns the ids of rows whose event is to be stored under `event_id`, oldest first."""
    return [identifier for (identifier,) in connection.execute(_OF_EVENT, [event_id])]


def of_request(connection: Connection, request_id: str) -> list[UUID]:
    """Returns the ids of rows whose events came with a request or message, oldest first."""
    return [identifier for (identifier,) in connection.execute(_OF_REQUEST, [request_id])]


def count(connection: Connection, ids: Sequence[UUID]) -> list[ReasonCount]:
    """Counts the rows by reason."""
    return connection.cursor(row_factory=class_row(ReasonCount)).execute(_COUNT, [ids]).fetchall()


def history(connection: Connection, identifier: UUID) -> list[FormerAttempt]:
    """Returns the earlier rejections of the event, oldest first."""
    return connection.cursor(row_factory=class_row(FormerAttempt)).execute(_HISTORY, [identifier]).fetchall()


def replay(connection: Connection, client: "SQSClient", queue_url: str, ids: Sequence[UUID]) -> ReplaySummary:
    """Sends the waiting ones of the events to the queue unchanged, and marks them as replayed.

    Each group of events is sent and then marked in one transaction. If that fails in between, the next replay sends the
    group again: the event id prevents a second event, and the attempt number in the message a second count.
    """
    sent = unsent = 0
    too_large: list[UUID] = []
    for some in batched(ids, _MAX_SENT_AT_ONCE, strict=False):
        with connection.transaction():
            claimed = list(_claim(connection, list(some)))
            sendable = [one for one in claimed if one.message is not None]
            bodies, groups = [one.message or b"" for one in sendable], [one.group for one in sendable]
            refused = queue.send(client, queue_url, bodies, groups=groups)
            taken = [one.rejected_id for index, one in enumerate(sendable) if index not in refused]
            connection.execute(_MARK, [taken])
        sent += len(taken)
        unsent += len(refused)
        too_large += [one.rejected_id for one in claimed if one.message is None]
    row = connection.execute(_COUNT_OF_SYNC, [ids]).fetchone()
    of_sync = int(row[0]) if row else 0
    return ReplaySummary(sent, unsent, too_large, of_sync, len(ids) - sent - unsent - len(too_large) - of_sync)


def delete(connection: Connection, ids: Sequence[UUID]) -> int:
    """Deletes the rows, and returns how many existed."""
    return sum(
        connection.execute(_DELETE, [list(some)]).rowcount for some in batched(ids, _MAX_DELETED_AT_ONCE, strict=False)
    )


def _claim(connection: Connection, ids: list[UUID]) -> Iterator[_Claimed]:
    """Locks the waiting rows and yields each with its message."""
    for rejected_id, attempts, received_at, body, grant, event_id in connection.execute(_CLAIM, [ids]):
        try:
            sender = grant and msgspec.convert(grant, Grant)
            replay = Replay(rejected_id, attempts, received_at, body, sender, event_id)
        except msgspec.ValidationError:  # the grant is older than the limits on grants
            yield _Claimed(rejected_id, None)
        else:
            group = group_of_message([body.encode(errors="replace")], sender)
            yield _Claimed(rejected_id, replay.message(queue.MAX_BATCH_BYTES), group)
