"""Rejected events, as an operator deals with them: found, shown, put on the queue again, deleted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from functions.ingest.message.replay import Replay
from functions.shared import queue
from functions.shared.grant import Grant
from functions.shared.postgres import Connection
from infra.operations.event_name import event_name

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# The name is looked for as JSON writes it; whether it is that of the event is for `event_name` to say.
_FIND = """
    SELECT id, CASE WHEN %(event)s::text IS NOT NULL THEN body END
    FROM rejected_events
    WHERE (%(code)s::text IS NULL OR code = %(code)s)
      AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
      AND (%(event)s::text IS NULL OR strpos(body, to_json(%(event)s::text)::text) > 0)
    ORDER BY received_at, id
"""

_READ = """
    SELECT id, event_id, received_at, source, code, message, body, sender_grant, attempts, replayed_at
    FROM rejected_events
    WHERE id = ANY(%s)
    ORDER BY received_at, id
"""

_OF_EVENT = "SELECT id FROM rejected_events WHERE event_id = %s ORDER BY received_at, id"

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

# Rows that ClickHouse refused are stored, and of no use on the queue. Another replay leaves out what this one is about
# to send, and sees it marked afterwards.
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

_MAX_SENT_AT_ONCE = 50  # so few that the consumer, where it rejects one again, does not wait long for it to be marked
_MAX_DELETED_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """A row of `rejected_events`.

    Attributes:
        event_id: under which the event is to be stored, where that is known: the sender was told it.
    """

    id: UUID
    event_id: UUID | None
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
        """The name of the event, where it has one."""
        return event_name(self.body)


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many events were rejected for one reason: those that wait, and those that were replayed since.

    Attributes:
        message: of the newest.
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
    """Why an event was rejected before it was replayed and rejected again."""

    attempt: int
    code: str
    message: str
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a replay did.

    Attributes:
        sent: how many events are on the queue again.
        unsent: how many the queue did not take; they wait as before.
        too_large: those that fit in no message with their senders' grants; they wait as before.
        of_sync: how many are rows that ClickHouse refused.
        skipped: how many had been replayed before, or were being so at the same time.
    """

    sent: int
    unsent: int
    too_large: Sequence[UUID]
    of_sync: int
    skipped: int


def find(
    connection: Connection, code: str | None = None, event: str | None = None, since: datetime | None = None
) -> list[UUID]:
    """The ids of the rejected events with that code, of that name, received since then; the oldest first."""
    found = connection.cursor().stream(_FIND, {"code": code, "event": event, "since": since})
    return [identifier for identifier, body in found if event is None or event_name(body) == event]


def read(connection: Connection, ids: Sequence[UUID]) -> list[RejectedEvent]:
    """Those of the rows that are still there, the oldest first."""
    return connection.cursor(row_factory=class_row(RejectedEvent)).execute(_READ, [ids]).fetchall()


def of_event(connection: Connection, event_id: UUID) -> list[UUID]:
    """The ids of the rows of the event that is to be stored under `event_id`, the oldest first."""
    return [identifier for (identifier,) in connection.execute(_OF_EVENT, [event_id])]


def count(connection: Connection, ids: Sequence[UUID]) -> list[ReasonCount]:
    """How many of the rows there are for each reason."""
    return connection.cursor(row_factory=class_row(ReasonCount)).execute(_COUNT, [ids]).fetchall()


def history(connection: Connection, identifier: UUID) -> list[FormerAttempt]:
    """What the event was rejected for before, the oldest first."""
    return connection.cursor(row_factory=class_row(FormerAttempt)).execute(_HISTORY, [identifier]).fetchall()


def replay(connection: Connection, client: "SQSClient", queue_url: str, ids: Sequence[UUID]) -> ReplaySummary:
    """Puts those of the events that wait on the queue again, as they came, and marks them.

    Some are sent and then marked in one transaction. If it breaks in between, they are sent again by the next replay;
    that stores nothing twice, for an event has its id, and counts no attempt twice, for the message says which it is.
    """
    sent = unsent = 0
    too_large: list[UUID] = []
    for some in batched(ids, _MAX_SENT_AT_ONCE, strict=False):
        with connection.transaction():
            claimed = list(_claim(connection, list(some)))
            messages = {identifier: message for identifier, message in claimed if message is not None}
            refused = queue.send(client, queue_url, list(messages.values()))
            taken = [identifier for index, identifier in enumerate(messages) if index not in refused]
            connection.execute(_MARK, [taken])
        sent += len(taken)
        unsent += len(refused)
        too_large += [identifier for identifier, message in claimed if message is None]
    row = connection.execute(_COUNT_OF_SYNC, [ids]).fetchone()
    of_sync = int(row[0]) if row else 0
    return ReplaySummary(sent, unsent, too_large, of_sync, len(ids) - sent - unsent - len(too_large) - of_sync)


def delete(connection: Connection, ids: Sequence[UUID]) -> int:
    """Deletes the rows, and returns how many were still there."""
    return sum(
        connection.execute(_DELETE, [list(some)]).rowcount for some in batched(ids, _MAX_DELETED_AT_ONCE, strict=False)
    )


def _claim(connection: Connection, ids: list[UUID]) -> Iterator[tuple[UUID, bytes | None]]:
    """Those of the rows that wait, with the message of each; None where there is no room for it."""
    for rejected_id, attempts, received_at, body, grant, event_id in connection.execute(_CLAIM, [ids]):
        try:
            sender = grant and msgspec.convert(grant, Grant)
            replay = Replay(rejected_id, attempts, received_at, body, sender, event_id)
        except msgspec.ValidationError:  # the grant was kept when there were no limits to what it may hold
            yield rejected_id, None
        else:
            yield rejected_id, replay.message(queue.MAX_BATCH_BYTES)
