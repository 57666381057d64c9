"""Handles the daily invocation: creates the partitions that will be needed, and removes old data."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.retention import retention_metrics
from functions.retention.contract import contract_metrics
from functions.retention.contract.verdict import Verdict, fallen
from functions.retention.contract.watch import ContractWatch
from functions.retention.retention import Retention, RetentionError
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.correlation import invocation_of
from functions.shared.failure import redact_errors
from functions.shared.postgres import reason_of
from functions.shared.timestamp import utc_now

# Time reserved for the answer.
RESERVE_SECONDS = 10

CONTRACT_SECONDS = 300
"""Time limit of comparing what was sent, which reads the events of eight days."""


class Request(msgspec.Struct):
    """The event of an invocation. Keys of the schedule are ignored."""

    dry_run: bool = False


def build(retention: Retention, log_level: str = "INFO", contract: ContractWatch | None = None) -> "RetentionHandler":
    """Returns the handler for this retention; opens no connections."""
    return RetentionHandler(Logger(level=log_level), retention, contract=contract)


@dataclass(frozen=True, slots=True)
class RetentionHandler:
    """Runs the retention at each invocation.

    Attributes:
        now: returns the current time with its UTC offset.
        contract: compares what producers sent yesterday with the week before; None if nothing does.
    """

    logger: Logger
    retention: Retention
    now: Callable[[], datetime] = utc_now
    contract: ContractWatch | None = None

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
            left = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
            self._watch_contract(min(CONTRACT_SECONDS, left), invocation)
            if report.failure:
                raise RetentionError(report.failure)
        return answer

    def _watch_contract(self, seconds: float, invocation: str | None) -> None:
        """Logs which keys fewer events carried yesterday. Nothing depends on it, so an error stops nothing."""
        if self.contract is None:
            return
        yesterday = self.now().astimezone(UTC).date() - timedelta(days=1)
        try:
            found = fallen(self.contract.compare(yesterday, max(1, seconds)))
        except (psycopg.Error, DefinitionError) as error:
            reason = reason_of(error) if isinstance(error, psycopg.Error) else type(error).__name__
            self.logger.warning("What was sent could not be compared", extra={"reason": reason})
            contract_metrics.count(None, invocation)
            return
        for one in found:
            self.logger.warning(
                "an event stopped" if one.verdict is Verdict.STOPPED else "fewer events carry a key",
                extra={
                    "event": one.event,
                    "key": one.key,
                    "before": round(one.before or 0, 4),
                    "share": round(one.share, 4),
                    "events": one.events,
                },
            )
        contract_metrics.count(found, invocation)
