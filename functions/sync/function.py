"""Lambda function, invoked every minute: copies new events from PostgreSQL to ClickHouse."""

import time
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.shared import clickhouse, postgres, settings
from functions.shared.failure import kind_of, withheld, without_contents
from functions.sync.report import Report
from functions.sync.sync import Sync, SyncError

logger = Logger(level=settings.log_level())
metrics = Metrics(namespace="AiUsageEvents")
database_url = settings.database_url()
clickhouse_url = settings.clickhouse_url()
cluster = settings.clickhouse_cluster()
durable = settings.clickhouse_durable_inserts()
follow_seconds = settings.sync_follow_seconds()

# Time reserved for the last chunks and the response.
RESERVE_SECONDS = 30

_POLL_SECONDS = 2


@without_contents(SyncError)
@metrics.log_metrics
def handler(_: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns what was copied and how far ClickHouse is behind; raises if the sync can't continue."""
    if clickhouse_url is None:
        report = Report("disabled", reason="CLICKHOUSE_URL is not set")
        metrics.add_metric("SyncedRows", MetricUnit.Count, 0)
    else:
        seconds = max(1, context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
        report = _follow(Sync(database_url, clickhouse_url, cluster, durable=durable), seconds)
    answer: dict[str, Any] = msgspec.to_builtins(report)
    logger.info("synced", extra=answer)
    return answer


def _follow(sync: Sync, seconds: float) -> Report:
    """Runs once and, after catching up, again every few seconds until `SYNC_FOLLOW_SECONDS` have passed."""
    start = time.monotonic()
    report = _run(sync, seconds)
    while report.status == "caught_up" and (passed := time.monotonic() - start) < min(seconds, follow_seconds):
        time.sleep(_POLL_SECONDS)
        report = report.combined_with(_run(sync, seconds - passed))
    return report


def _run(sync: Sync, seconds: float) -> Report:
    try:
        report = sync.run(seconds)
    except Exception as error:
        metrics.add_metric("SyncFailures", MetricUnit.Count, 1)
        with suppress(psycopg.Error):
            _count_lag(sync.seconds_behind())
        logger.exception("The sync failed", extra={"reason": _reason(error)}, exc_info=withheld(error))
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
            return kind_of(error)


def _count_lag(seconds_behind: float | None) -> None:
    if seconds_behind is not None:
        metrics.add_metric("SyncSecondsBehind", MetricUnit.Seconds, seconds_behind)
