"""Metrics of the retention's runs."""

from functions.retention.report import Report
from functions.shared.metrics import Metric, emit

PARTITIONS_MADE = Metric("PartitionsMade", "Count", "Partitions that retention made.")
PARTITIONS_DROPPED = Metric("PartitionsDropped", "Count", "Partitions that retention dropped.")
PARTITIONS_KEPT = Metric(
    "PartitionsKept", "Count", "Old partitions that retention could not drop, because it must not."
)
PARTITIONS_BUSY = Metric(
    "PartitionsBusy", "Count", "Partitions that retention left to its next run, because other sessions use them."
)
UNSYNCED_ROWS = Metric(
    "UnsyncedRowsInOldPartitions",
    "Count",
    "Rows that keep an old partition from being dropped, because ClickHouse lacks them.",
)
REJECTED_EVENTS_DELETED = Metric(
    "RejectedEventsDeleted",
    "Count",
    "Rejected events that retention deleted because they are older than the retention.",
)


def count(report: Report, invocation: str | None) -> None:
    """Writes the metrics of a run."""
    emit(
        {
            PARTITIONS_MADE: len(report.made),
            PARTITIONS_DROPPED: len(report.dropped),
            PARTITIONS_KEPT: len(report.kept),
            PARTITIONS_BUSY: len(report.busy),
            UNSYNCED_ROWS: sum(kept.unsynced_rows or 0 for kept in report.kept),
            REJECTED_EVENTS_DELETED: report.rejected_events_deleted,
        },
        invocation=invocation,
    )
