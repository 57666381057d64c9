"""What Lambda invokes with messages of the queue: transforms their events and stores them in PostgreSQL."""

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

import psycopg
from aws_lambda_powertools import Logger

from functions.ingest import intake_metrics
from functions.ingest.gc_tuning import gc_disabled
from functions.ingest.message.batch import Batch
from functions.ingest.message.origin import Arrival, arrival_of
from functions.ingest.message.replay import read_message
from functions.ingest.pipeline import Consumer, Outcome
from functions.shared.catalog import registry
from functions.shared.failure import without_contents
from functions.shared.postgres import Database, TimeLimits, reason_of
from functions.shared.tenant import QUEUE

TIME_LIMITS = TimeLimits(statement=45, transaction=50)

# Of what is unpacked at once: a message of gzip holds at most 20 MB and 10,000 events, but there may be many of them.
MAX_BYTES_AT_ONCE = 64 * 1024 * 1024
MAX_EVENTS_AT_ONCE = 50_000  # each takes far more memory than its bytes, and time
MAX_IDS_LOGGED = 10
# After the invocation began. The transaction may then take its 50 s: the function's time is 60 s or more.
LAST_START_SECONDS = 10


class Message(NamedTuple):
    """A message of the queue, how often it was delivered, and the events in it."""

    id: str
    deliveries: int
    batch: Batch


def build(*, database_url: str, retention_months: int, log_level: str = "INFO") -> "ConsumerHandler":
    """The handler for these settings, with the definitions; connects to nothing yet."""
    database = Database(database_url, TIME_LIMITS)
    return ConsumerHandler(Logger(level=log_level), Consumer(database, registry.load(), retention_months))


@dataclass(slots=True)
class ConsumerHandler:
    """Stores the messages that Lambda hands over.

    Attributes:
        read: the batch in the body of a message that arrived so.
        max_bytes: of the messages that are consumed together, unless there is but one.
        max_events: of these messages.
        clock: seconds, as `time.monotonic` counts them.
    """

    logger: Logger
    consumer: Consumer
    read: Callable[[bytes, Arrival], Batch] = read_message
    max_bytes: int = MAX_BYTES_AT_ONCE
    max_events: int = MAX_EVENTS_AT_ONCE
    clock: Callable[[], float] = monotonic

    @without_contents()
    @gc_disabled()
    def __call__(self, event: dict[str, Any], _: object) -> dict[str, Any]:
        """Stores messages, at once if they are few; those that it reports are delivered again."""
        deadline = self.clock() + LAST_START_SECONDS
        records = event["Records"]
        waiting, done = deque(records), set[str]()
        try:
            for messages in self._groups(waiting, deadline):
                outcome, stored_ids = self._consume(messages)
                done |= stored_ids
                if stored_ids:
                    self._log(outcome, len(stored_ids))
                    _count_published([message.batch for message in messages if message.id in stored_ids])
            if waiting:
                left = {"messages": len(waiting)}
                self.logger.warning("messages are left for later: no time is left for them", extra=left)
        except psycopg.Error as error:
            self.logger.warning(
                "PostgreSQL did not store the batch",
                extra={"messages": len(records) - len(done), "sqlstate": error.sqlstate, "reason": reason_of(error)},
            )
        failed = [record["messageId"] for record in records if record["messageId"] not in done]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _groups(self, waiting: deque[dict[str, Any]], deadline: float) -> Iterator[list[Message]]:
        """The messages that can be read, as many together as may be consumed at once; a larger one is alone.

        Fewer, the more often they were delivered: what is too much for PostgreSQL together may not be in parts.
        Those that there is no time for before `deadline` stay in `waiting`. What was read by then is consumed, so that
        slow messages don't stop the queue.
        """
        group: list[Message] = []
        size = events = 0
        while waiting and self.clock() < deadline:
            message = self._read(waiting[0])
            if message is not None:
                own_size, own_events = sum(map(len, message.batch.events)), len(message.batch.events)
                group_max_bytes, group_max_events = (
                    limit // message.deliveries for limit in (self.max_bytes, self.max_events)
                )
                if group and (size + own_size > group_max_bytes or events + own_events > group_max_events):
                    yield group
                    group, size, events = [], 0, 0
                    if self.clock() >= deadline:
                        return
                group.append(message)
                size, events = size + own_size, events + own_events
            waiting.popleft()
        if group:
            yield group

    def _read(self, record: dict[str, Any]) -> Message | None:
        """The message that Lambda hands over; None where the code fails on it: in the end it is a dead letter."""
        try:
            batch = self.read(record["body"].encode(errors="replace"), arrival_of(record))
        except Exception as error:  # noqa: BLE001 - what nobody foresaw
            self._log_failure(record["messageId"], error)
            return None
        return Message(record["messageId"], int(record["attributes"]["ApproximateReceiveCount"]), batch)

    def _consume(self, messages: Sequence[Message]) -> tuple[Outcome, set[str]]:
        """What became of the messages, and the ids of all but those that the code fails on: found by halving.

        They are halved down to a message, which is what can be delivered again; for what PostgreSQL refuses, the
        consumer halves further, down to an event.

        Raises:
            psycopg.Error: PostgreSQL is away.
        """
        try:
            return self.consumer.consume([message.batch for message in messages]), {message.id for message in messages}
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001 - what nobody foresaw
            if len(messages) == 1:
                self._log_failure(messages[0].id, error)
                return Outcome(), set()
        half = len(messages) // 2
        (first, first_ids), (second, second_ids) = self._consume(messages[:half]), self._consume(messages[half:])
        return first + second, first_ids | second_ids

    def _log(self, outcome: Outcome, messages: int) -> None:
        self.logger.info(
            "consumed",
            extra={
                "messages": messages,
                "stored": outcome.stored,
                "duplicates": outcome.duplicates,
                "ignored": outcome.ignored,
                "rejected": len(outcome.rejected),
                "codes": Counter(row.code for row in outcome.rejected),
                "made_partitions": outcome.partitions,
            }
            | _refused(outcome),
        )

    def _log_failure(self, message_id: str, error: Exception) -> None:
        """Says where the code fails on a message; not what it says, which may quote the message."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        extra = {"message_id": message_id, "error": type(error).__name__, "where": where}
        self.logger.error("a message can't be consumed", extra=extra)


def _count_published(batches: Sequence[Batch]) -> None:
    """Counts what was published straight on the queue: the function behind HTTPS has counted the rest."""
    events = [
        raw
        for batch in batches
        if batch.grant is None and batch.replayed is None
        for index, raw in batch.indexed()
        if index not in batch.refused
    ]
    intake_metrics.count(QUEUE, len(events), sum(map(len, events)))


def _refused(outcome: Outcome) -> dict[str, list[str]]:
    """Which rows of `rejected_events` hold what PostgreSQL refused, the first of them; nothing where there are none."""
    refused = [str(row.id) for row in outcome.rejected if row.code == "refused_by_postgresql"]
    return {"refused_ids": refused[:MAX_IDS_LOGGED]} if refused else {}
