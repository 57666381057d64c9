"""Metrics of canary events."""

from functions.canary.canary import Report
from functions.shared.metrics import Metric, emit

CANARY_SECONDS = Metric(
    "CanarySeconds", "Seconds", "Time from sending a canary event until GraphQL showed it from PostgreSQL."
)
CANARY_CLICKHOUSE_SECONDS = Metric(
    "CanaryClickHouseSeconds", "Seconds", "Time from sending a canary event until GraphQL showed it from ClickHouse."
)
CANARY_FAILURES = Metric(
    "CanaryFailures", "Count", "Canary events that were refused, or that a store did not show in time: 1 or 0 for each."
)


def count(report: Report, invocation: str | None) -> None:
    """Writes the metrics of a canary; a store that did not show it has no time."""
    values: dict[Metric, float] = {CANARY_FAILURES: int(bool(report.failure))}
    if report.postgresql_seconds is not None:
        values[CANARY_SECONDS] = report.postgresql_seconds
    if report.clickhouse_seconds is not None:
        values[CANARY_CLICKHOUSE_SECONDS] = report.clickhouse_seconds
    emit(values, invocation=invocation)
