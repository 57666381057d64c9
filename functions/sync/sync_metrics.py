"""Metrics of the sync's runs, written once at the end of an invocation."""

from dataclasses import dataclass, field

from functions.shared.metrics import Metric, Values, emit

LAG_SECONDS = 300
"""The objective: ClickHouse is no further behind PostgreSQL."""

SYNCED_ROWS = Metric("SyncedRows", "Count", "Rows that ClickHouse confirmed.")
SYNCED_CHUNKS = Metric("SyncedChunks", "Count", "Chunks that ClickHouse confirmed.")
SYNCED_BYTES = Metric("SyncedBytes", "Bytes", "Bytes that the sync sent to ClickHouse.")
REFUSED_ROWS = Metric(
    "SyncRefusedRows", "Count", "Rows that ClickHouse refused; they are in `rejected_events` with the source `sync`."
)
FAILURES = Metric("SyncFailures", "Count", "Runs of the sync that failed: 1 or 0 for each invocation.")
SECONDS_BEHIND = Metric(
    "SyncSecondsBehind",
    "Seconds",
    "Age of the moment up to which ClickHouse has everything; absent in the first backfill.",
)
BEHIND_OBJECTIVE = Metric(
    "SyncsBehindObjective",
    "Count",
    f"Runs that left ClickHouse more than {LAG_SECONDS} s behind: 1 or 0 for each invocation.",
)
OLDEST_TRANSACTION = Metric(
    "SyncOldestTransactionSeconds",
    "Seconds",
    "Age of the oldest transaction that the watermark waits for; 0 if none is open.",
)
MOVED_EVENTS = Metric(
    "MovedEvents", "Count", "Stored events that followed their namespaces or projects. Absent if no move is under way."
)
OPEN_MOVES = Metric("OpenMoves", "Count", "Moves that are not done. Absent if there are none.")
MOVE_FAILURES = Metric(
    "MoveFailures", "Count", "Runs that could not move stored events; the sync went on all the same."
)
ROLLUPS_BUILT = Metric(
    "RollupsBuilt", "Count", "Days whose rollup was built in ClickHouse. Absent if no rollup was due."
)
OPEN_ROLLUPS = Metric(
    "OpenRollups", "Count", "Days whose rollup a later run of the sync builds. Absent if no rollup was due."
)
ROLLUP_FAILURES = Metric(
    "RollupFailures", "Count", "Runs that could not build rollups; metrics of their days are read from events."
)


@dataclass(slots=True)
class SyncMetrics:
    """The metrics of one invocation. Counts of several runs add up; of ages the last one counts."""

    values: dict[Metric, float] = field(default_factory=dict)

    def add(self, metric: Metric, value: float) -> None:
        """Adds to a metric."""
        self.values[metric] = self.values.get(metric, 0) + value

    def set(self, metric: Metric, value: float | None) -> None:
        """Sets a metric; leaves it as it is if the value is unknown."""
        if value is not None:
            self.values[metric] = value

    def set_lag(self, seconds_behind: float | None) -> None:
        """Sets how far ClickHouse is behind."""
        self.set(SECONDS_BEHIND, seconds_behind)
        self.set(BEHIND_OBJECTIVE, None if seconds_behind is None else int(seconds_behind > LAG_SECONDS))

    def emit(self, further: Values, invocation: str | None) -> None:
        """Writes the metrics of the invocation, with further ones."""
        emit({**self.values, **further}, invocation=invocation)
