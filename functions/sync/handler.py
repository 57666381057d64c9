"""Handler of the sync function, invoked every minute: moves and copies events, builds rollups, and copies names."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.shared import clickhouse, postgres
from functions.shared.correlation import invocation_of
from functions.shared.database_health import database_health
from functions.shared.failure import class_and_code, redact_errors, redacted
from functions.shared.metrics import Values
from functions.shared.secret import UrlSource
from functions.shared.tracing import span
from functions.sync import sync_metrics
from functions.sync.analysis import REFILL, Analysis
from functions.sync.error import SyncError
from functions.sync.moves import Mover, MoveReport
from functions.sync.report import Report
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from functions.sync.sync_metrics import SyncMetrics

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


@dataclass(slots=True)
class SyncHandler:
    """Runs the mover, then the sync, and then builds rollups at each invocation.

    Attributes:
        mover: moves stored events after their namespaces and projects.
        sync: None if ClickHouse is disabled.
        rollups: None if ClickHouse is disabled.
        follow_seconds: how long a sync that has caught up keeps polling.
        analysis: None if ClickHouse is disabled.
        metrics: counts what the present invocation does.
    """

    logger: Logger
    mover: Mover
    sync: Sync | None
    rollups: Rollups | None = None
    follow_seconds: int = 0
    analysis: Analysis | None = None
    metrics: SyncMetrics = field(default_factory=SyncMetrics)

    @redact_errors(SyncError)
    def __call__(self, _: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Returns what was copied and how far ClickHouse is behind; raises if the sync can't continue."""
        self.metrics, invocation = SyncMetrics(), invocation_of(context)
        self.logger.append_keys(invocation=invocation)
        try:
            report = self._report(context)
        finally:
            self.metrics.emit(self._database_health(), invocation)
        answer: dict[str, Any] = msgspec.to_builtins(report)
        self.logger.info("synced", extra=answer)
        return answer

    def _report(self, context: LambdaContext) -> Report:
        deadline = time.monotonic() + max(1, context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
        moves = self._move((deadline - time.monotonic()) / (1 if self.sync is None else 2))
        if self.sync is None:
            self.metrics.add(sync_metrics.SYNCED_ROWS, 0)
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
            with span("move"):
                report = self.mover.run(seconds)
        except Exception as error:
            self.metrics.add(sync_metrics.MOVE_FAILURES, 1)
            self.logger.exception(
                "Events could not be moved", extra={"reason": _reason(error)}, exc_info=redacted(error)
            )
            return error
        if report.events or report.open:
            self.metrics.add(sync_metrics.MOVED_EVENTS, report.events)
            self.metrics.add(sync_metrics.OPEN_MOVES, report.open)
        return report

    def _build_rollups(self, report: Report, seconds: float) -> None:
        """Builds rollups of what was copied. Without them, metrics are read from events, so an error stops nothing."""
        if self.rollups is None or report.status != "caught_up":
            return
        try:
            with span("build rollups"):
                built = self.rollups.run(seconds)
        except (psycopg.Error, ClickHouseError) as error:
            self.metrics.add(sync_metrics.ROLLUP_FAILURES, 1)
            self.logger.exception(
                "Rollups could not be built", extra={"reason": _reason(error)}, exc_info=redacted(error)
            )
            return
        report.rollups, report.open_rollups = built.days, built.waiting
        if built.days or built.waiting:
            self.metrics.add(sync_metrics.ROLLUPS_BUILT, built.days)
            self.metrics.add(sync_metrics.OPEN_ROLLUPS, built.waiting)

    def _copy_names(self, report: Report, seconds: float) -> None:
        """Copies the directory and names, and makes views; an error stops nothing that GraphQL or the sync needs."""
        if self.analysis is None or report.status != "caught_up":
            return
        try:
            if self.analysis.run(seconds).is_of_another:
                self.logger.warning("ClickHouse keeps the directory of another PostgreSQL", extra={"reason": REFILL})
        except (psycopg.Error, ClickHouseError) as error:
            self.logger.exception(
                "Names could not be copied", extra={"reason": _reason(error)}, exc_info=redacted(error)
            )

    def _database_health(self) -> Values:
        """Returns metrics of the database, whether the sync failed or not; none if the database can't be asked."""
        try:
            return database_health(self.mover.database_url)
        except psycopg.Error as error:
            self.logger.warning("The database's health is unknown", extra={"reason": _reason(error)})
            return {}

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
            with span("copy"):
                report = sync.run(seconds)
        except Exception as error:
            self.metrics.add(sync_metrics.FAILURES, 1)
            with suppress(psycopg.Error):
                self.metrics.set_lag(sync.seconds_behind())
            self.logger.exception("The sync failed", extra={"reason": _reason(error)}, exc_info=redacted(error))
            raise
        self.metrics.add(sync_metrics.SYNCED_ROWS, report.rows)
        self.metrics.add(sync_metrics.SYNCED_CHUNKS, report.chunks)
        self.metrics.add(sync_metrics.SYNCED_BYTES, report.bytes)
        self.metrics.add(sync_metrics.REFUSED_ROWS, report.refused)
        self.metrics.set_lag(report.seconds_behind)
        self.metrics.add(sync_metrics.FAILURES, 0)
        self.metrics.set(sync_metrics.OLDEST_TRANSACTION, report.oldest_transaction_seconds)
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
