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


def count(report: Report, invocation: str | None, sent_at: float) -> None:
    """Writes the metrics of a canary; a store that did not show it has no time.

    Args:
        sent_at: when the canary was sent, in seconds since 1970. The metrics count then, so that each five minutes have
            one canary: a slow one that counted at its end would leave its five minutes without any.
    """
    values: dict[Metric, float] = {CANARY_FAILURES: int(bool(report.failure))}
    if report.postgresql_seconds is not None:
        values[CANARY_SECONDS] = report.postgresql_seconds
    if report.clickhouse_seconds is not None:
        values[CANARY_CLICKHOUSE_SECONDS] = report.clickhouse_seconds
    emit(values, at=sent_at, invocation=invocation)
