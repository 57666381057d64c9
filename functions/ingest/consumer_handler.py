"""Handles messages of the queue: transforms their events and stores them in PostgreSQL."""

import math
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import batched
from time import monotonic, perf_counter
from typing import Any

import psycopg
from aws_lambda_powertools import Logger

from functions.ingest import intake_metrics
from functions.ingest.consumer_metrics import BatchMetrics
from functions.ingest.message.batch import Batch, is_read_soon
from functions.ingest.message.origin import Origin, origin_of
from functions.ingest.message.replay import read_message
from functions.ingest.outcome import Outcome
from functions.ingest.pipeline import Consumer
from functions.ingest.read_ahead import Group, Message, ReadAhead, Upcoming
from functions.ingest.redelivery import Redelivery
from functions.ingest.turn import in_turn
from functions.shared import correlation
from functions.shared.catalog import registry
from functions.shared.failure import redact_errors
from functions.shared.gc_tuning import gc_disabled
from functions.shared.postgres import Database, reason_of
from functions.shared.role_settings import CONSUMER_LIMITS
from functions.shared.secret import UrlSource
from functions.shared.spare_time import NO_WORK
from functions.shared.tenant import QUEUE
from functions.shared.tracing import span

# Limits the unpacked bytes consumed together, while as much may be read ahead. One gzip message holds up to 20 MB and
# 10,000 events.
MAX_BYTES_AT_ONCE = 32 * 1024 * 1024
MAX_EVENTS_AT_ONCE = 5_000  # an event takes much more memory than its bytes
MAX_IDS_LOGGED = 10
MAX_MESSAGES_AT_ONCE = 3_500  # a line of the log names the request of each, and may have 256 KB
# Counted from the start of the invocation. A transaction may take 50 s more, and the function has at least 60 s.
LAST_START_SECONDS = 10


def build(
    *, database_url: UrlSource, retention_months: int, log_level: str = "INFO", queue_url: str | None = None
) -> "ConsumerHandler":
    """Returns the handler for these settings; opens no connections.

    Args:
        queue_url: the queue in which the handler delays messages that were not stored; None if it does not.
    """
    consumer = Consumer(Database(database_url, CONSUMER_LIMITS), registry.load(), retention_months)
    redelivery = None if queue_url is None else Redelivery(queue_url)
    return ConsumerHandler(Logger(level=log_level), consumer, redelivery=redelivery)


@dataclass(slots=True)
class ConsumerHandler:
    """Stores the messages that Lambda passes to the function.

    Attributes:
        read: reads the batch from a message's body and origin.
        max_bytes: maximum bytes of messages consumed together; one message alone may be larger.
        max_events: maximum events of messages consumed together.
        clock: returns seconds like `time.monotonic`.
        metrics: counts what becomes of the present batch.
        requests: ids of the requests that the present messages are of, by the messages' ids.
        redelivery: delays messages that were not stored; None leaves them to the queue's visibility timeout.
        proven_events: most events that were stored together since PostgreSQL last failed.
    """

    logger: Logger
    consumer: Consumer
    read: Callable[[bytes, Origin], Batch] = read_message
    max_bytes: int = MAX_BYTES_AT_ONCE
    max_events: int = MAX_EVENTS_AT_ONCE
    clock: Callable[[], float] = monotonic
    metrics: BatchMetrics = field(default_factory=BatchMetrics)
    requests: dict[str, str] = field(default_factory=dict)
    redelivery: Redelivery | None = None
    proven_events: int = 0

    @redact_errors()
    @gc_disabled()
    def __call__(self, event: dict[str, Any], context: object) -> dict[str, Any]:
        """Stores the messages, and reports the failed ones, which SQS then delivers again."""
        start, (records, few) = perf_counter(), in_turn(event["Records"])
        invocation = self._begin(records, context)
        done = self._store(records, few, self.clock() + LAST_START_SECONDS)
        failed = [record for record in records if record["messageId"] not in done]
        seconds = perf_counter() - start
        self.metrics.emit(len(records), len(failed), round(seconds * 1000, 1), invocation)
        self._postpone(failed, seconds, _seconds_left(context))
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}

    def _begin(self, records: Sequence[dict[str, Any]], context: object) -> str | None:
        """Begins the metrics and the log of an invocation; returns the invocation's id."""
        self.metrics = BatchMetrics()
        self.requests = {record["messageId"]: correlation.request_of(record) for record in records}
        invocation = correlation.invocation_of(context)
        self.logger.append_keys(invocation=invocation)
        return invocation

    def _store(self, records: Sequence[dict[str, Any]], few: int, deadline: float) -> set[str]:
        """Stores messages until PostgreSQL fails or no time is left.

        Args:
            few: number of messages at the start that are of tenants with few. See `in_turn`.

        Returns:
            The ids of the messages that were consumed.
        """
        waiting, done = deque(records), set[str]()
        ahead = ReadAhead(self._groups(waiting, deadline, len(records) - few), self.consumer)
        try:
            while group := ahead.next_group():
                with span("store"):
                    outcome, stored_ids = self._consume(group, ahead.steps())
                if stored_ids:
                    done |= stored_ids
                    self._note_stored(group, outcome, stored_ids)
                if self.clock() >= deadline:
                    break
            if left := ahead.messages + len(waiting):
                self.logger.warning("no time is left for some messages", extra={"messages": left})
        except psycopg.Error as error:
            self._note_database_failure(error, self.requests.keys() - done)
        return done

    def _note_stored(self, group: Group, outcome: Outcome, message_ids: Set[str]) -> None:
        """Logs and counts what became of the messages of a group."""
        self._log(outcome, message_ids)
        batches = [message.batch for message in group.messages if message.id in message_ids]
        self.proven_events = max(self.proven_events, sum(len(batch.events) for batch in batches))
        self.metrics.add(outcome, batches)
        _count_published(batches)

    def _note_database_failure(self, error: psycopg.Error, message_ids: Set[str]) -> None:
        """Logs and counts that PostgreSQL stored none of the messages."""
        self.metrics.has_database_failed, self.proven_events = True, 0
        for some in batched(sorted(message_ids), MAX_MESSAGES_AT_ONCE, strict=False):
            self.logger.warning(
                "PostgreSQL did not store the batch",
                extra={
                    "messages": len(some),
                    "sqlstate": error.sqlstate,
                    "reason": reason_of(error),
                    "requests": self._requests_of(some),
                },
            )

    def _postpone(
        self, records: Sequence[dict[str, Any]], seconds_taken: float, seconds_left: Callable[[], float]
    ) -> None:
        """Delays messages that were not stored, the longer the more often they failed."""
        if self.redelivery is None or not records:
            return
        metrics = self.metrics
        self.redelivery.postpone(
            records, lambda one: metrics.has_database_failed or one in metrics.unconsumable, seconds_left
        )
        if metrics.has_database_failed:
            self.redelivery.slow_down(seconds_taken, seconds_left)

    def _groups(
        self, waiting: deque[dict[str, Any]], deadline: float, of_busy_tenants: int
    ) -> Iterator[Upcoming | list[Message]]:
        """Yields groups of messages to consume together; a message over the limits forms its own group.

        A group has no more messages than a line of the log can name. It gets smaller the more often its messages were
        delivered, because PostgreSQL may fail on many events but not on few. Once PostgreSQL stores them, as after an
        outage, groups double. Messages for which no time is left before `deadline` stay in `waiting`. The messages read
        by then are consumed all the same, so slow messages don't block the queue. Before a message is read, yields what
        reading it may take.

        Args:
            of_busy_tenants: how many of the last messages are of tenants with many. They form groups of their own, so
                that the others do not wait for them.
        """
        group: list[Message] = []
        size = events = 0
        while waiting and self.clock() < deadline:
            yield Upcoming.SHORT if is_read_soon(waiting[0].get("body", "")) else Upcoming.LONG
            message = self._read(waiting[0])
            if message is not None:
                own_size, own_events = sum(map(len, message.batch.events)), len(message.batch.events)
                share = min(1.0, max(1 / message.deliveries, 2 * self.proven_events / self.max_events))
                group_max_bytes, group_max_events = (int(limit * share) for limit in (self.max_bytes, self.max_events))
                is_full = len(group) == MAX_MESSAGES_AT_ONCE
                if group and (is_full or size + own_size > group_max_bytes or events + own_events > group_max_events):
                    yield group
                    group, size, events = [], 0, 0
                group.append(message)
                size, events = size + own_size, events + own_events
            waiting.popleft()
            if group and len(waiting) == of_busy_tenants:
                yield group
                group, size, events = [], 0, 0
        if group:
            yield group

    def _read(self, record: dict[str, Any]) -> Message | None:
        """Returns the message; None if parsing raises. In the end SQS makes it a dead letter."""
        try:
            batch = self.read(record["body"].encode(errors="replace"), origin_of(record))
            batch.request_id = self.requests[record["messageId"]]
            return Message(record["messageId"], int(record["attributes"]["ApproximateReceiveCount"]), batch)
        except Exception as error:  # noqa: BLE001 - any failure of one message must not fail the others
            self._log_failure(record["messageId"], error)
            return None

    def _consume(self, group: Group, spare_work: Iterator[object] = NO_WORK) -> tuple[Outcome, set[str]]:
        """Consumes the messages; returns the outcome and the ids of the messages that were consumed.

        If the code fails, the messages are halved until the failing message is found: a message is the unit of
        redelivery. If PostgreSQL refuses an event, the consumer halves further, down to that event.

        Raises:
            psycopg.Error: PostgreSQL is unavailable.
        """
        messages = group.messages
        try:
            outcome = self.consumer.consume([message.batch for message in messages], group.reading, spare_work)
            return outcome, {message.id for message in messages}
        except psycopg.Error:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of one message must not fail the others
            if len(messages) == 1:
                self._log_failure(messages[0].id, error)
                return Outcome(), set()
        half = len(messages) // 2
        (first, first_ids), (second, second_ids) = (
            self._consume(Group(messages[:half])),
            self._consume(Group(messages[half:])),
        )
        return first + second, first_ids | second_ids

    def _log(self, outcome: Outcome, message_ids: Set[str]) -> None:
        self.logger.info(
            "consumed",
            extra={
                "messages": len(message_ids),
                "requests": self._requests_of(message_ids),
                "stored": outcome.stored,
                "duplicates": outcome.duplicates,
                "ignored": outcome.ignored,
                "erased": outcome.erased,
                "rejected": len(outcome.rejected),
                "codes": Counter(row.code for row in outcome.rejected),
                "made_partitions": outcome.partitions,
            }
            | _refused(outcome),
        )

    def _log_failure(self, message_id: str, error: Exception) -> None:
        """Logs where the code failed on a message. Omits the error's text, which may quote the message."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename}:{frame.lineno}"
        request_id = self.requests[message_id]
        extra = {"message_id": message_id, "request_id": request_id, "error": type(error).__name__, "where": where}
        self.logger.error("a message can't be consumed", extra=extra)
        self.metrics.unconsumable.add(message_id)

    def _requests_of(self, message_ids: Iterable[str]) -> list[str]:
        """Returns the ids of the requests of the messages, for the log."""
        return sorted({self.requests[message_id] for message_id in message_ids})


def _seconds_left(context: object) -> Callable[[], float]:
    """Returns a function that returns the seconds until Lambda ends the invocation."""
    remaining: Callable[[], int] | None = getattr(context, "get_remaining_time_in_millis", None)
    return (lambda: math.inf) if remaining is None else (lambda: remaining() / 1000)


def _count_published(batches: Sequence[Batch]) -> None:
    """Counts events that were sent directly to the queue; the ingest function has counted the others."""
    events = [
        raw
        for batch in batches
        if batch.grant is None and batch.replayed is None
        for index, raw in batch.indexed()
        if index not in batch.refused
    ]
    intake_metrics.count(QUEUE, len(events), sum(map(len, events)))


def _refused(outcome: Outcome) -> dict[str, list[str]]:
    """Returns the first ids in `rejected_events` of the events that PostgreSQL refused, as a log field."""
    refused = [str(row.id) for row in outcome.rejected if row.code == "refused_by_postgresql"]
    return {"refused_ids": refused[:MAX_IDS_LOGGED]} if refused else {}
