"""Handler of the sync function, invoked every minute: moves and copies events, builds rollups, and copies names."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.shared import clickhouse, postgres
from functions.shared.failure import class_and_code, redact_errors, redacted
from functions.shared.secret import UrlSource
from functions.sync.analysis import Analysis
from functions.sync.error import SyncError
from functions.sync.moves import Mover, MoveReport
from functions.sync.report import Report
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync

metrics = Metrics(namespace="AiUsageEvents")

# Time reserved for the last chunks and the response.
RESERVE_SECONDS = 30

_POLL_SECONDS = 2


def build(
    *,
    database_url: UrlSource,
    clickhouse_url: UrlSource | None,
    cluster: str | None = None,
    durable: bool = True,
    follow_seconds: int = 0,
    log_level: str = "INFO",
) -> "SyncHandler":
    """Builds the handler from settings (see `functions.shared.settings`) without connecting to a store."""
    sync = Sync(database_url, clickhouse_url, cluster, durable=durable) if clickhouse_url else None
    mover = Mover(database_url, clickhouse_url, durable=durable)
    rollups = Rollups(database_url, clickhouse_url, cluster) if clickhouse_url else None
    analysis = Analysis(database_url, clickhouse_url, cluster) if clickhouse_url else None
    return SyncHandler(Logger(level=log_level), mover, sync, rollups, follow_seconds, analysis)


@dataclass(frozen=True, slots=True)
class SyncHandler:
    """Runs the mover, then the sync, and then builds rollups at each invocation.

    Attributes:
        mover: moves stored events after their namespaces and projects.
        sync: None if ClickHouse is disabled.
        rollups: None if ClickHouse is disabled.
        follow_seconds: how long a sync that has caught up keeps polling.
        analysis: None if ClickHouse is disabled.
    """

    logger: Logger
    mover: Mover
    sync: Sync | None
    rollups: Rollups | None = None
    follow_seconds: int = 0
    analysis: Analysis | None = None

    @redact_errors(SyncError)
    def __call__(self, _: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Returns what was copied and how far ClickHouse is behind; raises if the sync can't continue."""
        try:
            report = self._report(context)
        finally:
            metrics.flush_metrics()
        answer: dict[str, Any] = msgspec.to_builtins(report)
        self.logger.info("synced", extra=answer)
        return answer

    def _report(self, context: LambdaContext) -> Report:
        deadline = time.monotonic() + max(1, context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
        moves = self._move((deadline - time.monotonic()) / (1 if self.sync is None else 2))
        if self.sync is None:
            metrics.add_metric("SyncedRows", MetricUnit.Count, 0)
            report = Report("disabled", reason="CLICKHOUSE_URL is not set")
        else:
            report = self._follow(self.sync, max(1, deadline - time.monotonic()))
            self._build_rollups(report, max(1, deadline - time.monotonic()))
            self._copy_names(report, max(1, deadline - time.monotonic()))
        if isinstance(moves, Exception):
            raise moves
        report.moved, report.open_moves = moves.events, moves.open
        return report

    def _move(self, seconds: float) -> MoveReport | Exception:
        """Moves stored events; returns an error instead of raising it, because the sync must go on all the same."""
        try:
            report = self.mover.run(seconds)
        except Exception as error:
            metrics.add_metric("MoveFailures", MetricUnit.Count, 1)
            self.logger.exception(
                "Events could not be moved", extra={"reason": _reason(error)}, exc_info=redacted(error)
            )
            return error
        if report.events or report.open:
            metrics.add_metric("MovedEvents", MetricUnit.Count, report.events)
            metrics.add_metric("OpenMoves", MetricUnit.Count, report.open)
        return report

    def _build_rollups(self, report: Report, seconds: float) -> None:
        """Builds rollups of what was copied. Without them, metrics are read from events, so an error stops nothing."""
        if self.rollups is None or report.status != "caught_up":
            return
        try:
            built = self.rollups.run(seconds)
        except (psycopg.Error, ClickHouseError) as error:
            metrics.add_metric("RollupFailures", MetricUnit.Count, 1)
            self.logger.exception(
                "Rollups could not be built", extra={"reason": _reason(error)}, exc_info=redacted(error)
            )
            return
        report.rollups, report.open_rollups = built.days, built.waiting
        if built.days or built.waiting:
            metrics.add_metric("RollupsBuilt", MetricUnit.Count, built.days)
            metrics.add_metric("OpenRollups", MetricUnit.Count, built.waiting)

    def _copy_names(self, report: Report, seconds: float) -> None:
        """Copies names and makes views. Neither GraphQL nor the sync needs them, so an error stops nothing."""
        if self.analysis is None or report.status != "caught_up":
            return
        try:
            self.analysis.run(seconds)
        except (psycopg.Error, ClickHouseError) as error:
            self.logger.exception(
                "Names could not be copied", extra={"reason": _reason(error)}, exc_info=redacted(error)
            )

    def _follow(self, sync: Sync, seconds: float) -> Report:
        """Runs once and, after catching up, again every few seconds until `follow_seconds` have passed."""
        start = time.monotonic()
        report = self._run(sync, seconds)
        while report.status == "caught_up" and (passed := time.monotonic() - start) < min(seconds, self.follow_seconds):
            time.sleep(_POLL_SECONDS)
            report = report.combined_with(self._run(sync, seconds - passed))
        return report

    def _run(self, sync: Sync, seconds: float) -> Report:
        try:
            report = sync.run(seconds)
        except Exception as error:
            metrics.add_metric("SyncFailures", MetricUnit.Count, 1)
            with suppress(psycopg.Error):
                _count_lag(sync.seconds_behind())
            self.logger.exception("The sync failed", extra={"reason": _reason(error)}, exc_info=redacted(error))
            raise
        metrics.add_metric("SyncedRows", MetricUnit.Count, report.rows)
        metrics.add_metric("SyncedChunks", MetricUnit.Count, report.chunks)
        metrics.add_metric("SyncedBytes", MetricUnit.Bytes, report.bytes)
        metrics.add_metric("SyncRefusedRows", MetricUnit.Count, report.refused)
        _count_lag(report.seconds_behind)
        if report.oldest_transaction_seconds is not None:
            metrics.add_metric("SyncOldestTransactionSeconds", MetricUnit.Seconds, report.oldest_transaction_seconds)
        return report


def _reason(error: Exception) -> str:
    """Describes the error without event data."""
    match error:
        case SyncError():
            return str(error)
        case ClickHouseError():
            return clickhouse.reason_of(error)
        case psycopg.Error():
            return postgres.reason_of(error)
        case _:
            return class_and_code(error)


def _count_lag(seconds_behind: float | None) -> None:
    if seconds_behind is not None:
        metrics.add_metric("SyncSecondsBehind", MetricUnit.Seconds, seconds_behind)
