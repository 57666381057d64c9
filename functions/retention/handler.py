"""Handles the daily invocation: creates the partitions that will be needed, and removes old data."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.retention.report import Report
from functions.retention.retention import Retention, RetentionError
from functions.shared.failure import redact_errors
from functions.shared.timestamp import utc_now

metrics = Metrics(namespace="AiUsageEvents")

# Time reserved for the answer.
RESERVE_SECONDS = 10


class Request(msgspec.Struct):
    """The event of an invocation. Keys of the schedule are ignored."""

    dry_run: bool = False


def build(retention: Retention, log_level: str = "INFO") -> "RetentionHandler":
    """Returns the handler for this retention; opens no connections."""
    return RetentionHandler(Logger(level=log_level), retention)


@dataclass(frozen=True, slots=True)
class RetentionHandler:
    """Runs the retention at each invocation.

    Attributes:
        now: returns the current time with its UTC offset.
    """

    logger: Logger
    retention: Retention
    now: Callable[[], datetime] = utc_now

    @redact_errors(RetentionError, msgspec.ValidationError)
    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Runs the retention and returns its report; `{"dry_run": true}` makes it change nothing.

        Raises:
            RetentionError: work was left undone.
        """
        request = msgspec.convert(event, Request)
        seconds = max(1, context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
        report = self.retention.run(self.now(), seconds, dry_run=request.dry_run)
        answer: dict[str, Any] = msgspec.to_builtins(report)
        self.logger.info("retained", extra=answer)
        if not request.dry_run:
            _count(report)
            if report.failure:
                raise RetentionError(report.failure)
        return answer


def _count(report: Report) -> None:
    unsynced = sum(kept.unsynced_rows or 0 for kept in report.kept)
    metrics.add_metric("PartitionsMade", MetricUnit.Count, len(report.made))
    metrics.add_metric("PartitionsDropped", MetricUnit.Count, len(report.dropped))
    metrics.add_metric("PartitionsBusy", MetricUnit.Count, len(report.busy))
    metrics.add_metric("UnsyncedRowsInOldPartitions", MetricUnit.Count, unsynced)
    metrics.add_metric("RejectedEventsDeleted", MetricUnit.Count, report.rejected_events_deleted)
    metrics.flush_metrics()
