"""Handles the daily invocation: creates the partitions that will be needed, and removes old data."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.retention import retention_metrics
from functions.retention.retention import Retention, RetentionError
from functions.shared.correlation import invocation_of
from functions.shared.failure import redact_errors
from functions.shared.timestamp import utc_now

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
        invocation = invocation_of(context)
        self.logger.append_keys(invocation=invocation)
        seconds = max(1, context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
        report = self.retention.run(self.now(), seconds, dry_run=request.dry_run)
        answer: dict[str, Any] = msgspec.to_builtins(report)
        self.logger.info("retained", extra=answer)
        if not request.dry_run:
            retention_metrics.count(report, invocation)
            if report.failure:
                raise RetentionError(report.failure)
        return answer
