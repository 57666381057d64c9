"""Metrics of the batches that the consumer stores, counted once for each invocation."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from functions.ingest.intake_metrics import IGNORED_EVENTS, REJECTED_EVENTS, count_codes
from functions.ingest.message.batch import Batch
from functions.ingest.outcome import Outcome
from functions.shared.metrics import Metric, emit

DELIVERY_SECONDS = 60
"""The objective: so long after its arrival, an event is stored."""

BATCH_MESSAGES = Metric("BatchMessages", "Count", "Messages of a batch.")
BATCH_EVENTS = Metric("BatchEvents", "Count", "Events of a batch that were stored, ignored or rejected.")
BATCH_MILLISECONDS = Metric("BatchMilliseconds", "Milliseconds", "How long the function took for a batch.")
STORED_EVENTS = Metric("StoredEvents", "Count", "Events that were stored.")
DUPLICATE_EVENTS = Metric("DuplicateEvents", "Count", "Events that were stored before.")
ERASED_EVENTS = Metric(
    "ErasedEvents",
    "Count",
    "Events that were not stored, because their user or namespace was erased after they were sent.",
)
STORED_AGE = Metric("StoredAgeSeconds", "Seconds", "Time from the arrival of a message to the storage of its events.")
LATE_MESSAGES = Metric(
    "LateMessages", "Count", f"Messages stored later than {DELIVERY_SECONDS} s after their arrival: 1 or 0 for each."
)
UNSTORED_MESSAGES = Metric("UnstoredMessages", "Count", "Messages of a batch that SQS delivers again.")
UNCONSUMABLE_MESSAGES = Metric("UnconsumableMessages", "Count", "Messages on which the code fails.")
DATABASE_FAILURES = Metric(
    "DatabaseFailures", "Count", "Batches that PostgreSQL did not store, in whole or in part: 1 or 0 for each batch."
)
PARTITIONS_MADE = Metric(
    "PartitionsMadeByConsumer",
    "Count",
    "Partitions that were missing when the consumer stored events, so that it made them.",
)

_ALWAYS = (STORED_EVENTS, BATCH_EVENTS)  # alarms compare others with these


@dataclass(slots=True)
class BatchMetrics:
    """Counts what becomes of a batch.

    Attributes:
        unconsumable: ids of the messages on which the code fails.
        has_database_failed: whether PostgreSQL refused the batch, in whole or in part.
    """

    counts: Counter[Metric] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    ages: list[float] = field(default_factory=list)
    unconsumable: set[str] = field(default_factory=set)
    has_database_failed: bool = False

    def add(self, outcome: Outcome, batches: Iterable[Batch]) -> None:
        """Counts the outcome of messages that were stored just now."""
        now = datetime.now(UTC)
        rejected = len(outcome.rejected)
        self.counts[STORED_EVENTS] += outcome.stored
        self.counts[DUPLICATE_EVENTS] += outcome.duplicates
        self.counts[IGNORED_EVENTS] += outcome.ignored
        self.counts[ERASED_EVENTS] += outcome.erased
        self.counts[PARTITIONS_MADE] += len(outcome.partitions)
        self.counts[BATCH_EVENTS] += outcome.accepted + outcome.ignored + outcome.erased + rejected
        self.codes.update(row.code for row in outcome.rejected)
        self.ages += [(now - batch.received_at).total_seconds() for batch in batches if batch.replayed is None]

    def emit(self, messages: int, unstored: int, milliseconds: float, invocation: str | None) -> None:
        """Writes the metrics of the batch.

        Args:
            messages: number of messages of the batch.
            unstored: number of those that SQS delivers again.
            invocation: Lambda's id of the invocation.
        """
        ages = [max(0.0, round(age, 3)) for age in self.ages]
        values: dict[Metric, float | list[float]] = {
            BATCH_MESSAGES: messages,
            BATCH_MILLISECONDS: milliseconds,
            UNSTORED_MESSAGES: unstored,
            UNCONSUMABLE_MESSAGES: len(self.unconsumable),
            DATABASE_FAILURES: int(self.has_database_failed),
            REJECTED_EVENTS: self.codes.total(),
        }
        values |= {metric: number for metric, number in self.counts.items() if number or metric in _ALWAYS}
        if ages:
            values |= {STORED_AGE: ages, LATE_MESSAGES: [float(age > DELIVERY_SECONDS) for age in ages]}
        emit(values, invocation=invocation)
        count_codes(self.codes)
