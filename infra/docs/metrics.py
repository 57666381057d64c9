"""The metrics that functions emit to CloudWatch."""

import re
from collections.abc import Mapping
from pathlib import Path

from infra.docs.markdown import code, table

FUNCTIONS = Path(__file__).parents[2] / "functions"

_EMITTED = re.compile(r'add_metric\(\s*"(\w+)",\s*MetricUnit\.(\w+)')

DESCRIPTIONS: Mapping[str, str] = {
    "AcceptedBytes": "Bytes of the accepted events, unpacked. The log line has the tenant.",
    "AcceptedEvents": "Events accepted by HTTPS, and events published on the queue. The log line has the tenant.",
    "MovedEvents": "Stored events that followed their namespaces or projects. Absent if no move is under way.",
    "MoveFailures": "Runs that could not move stored events; the sync went on all the same.",
    "OpenMoves": "Moves that are not done. Absent if there are none.",
    "ErasedEvents": "Events that were not stored, because their user or namespace was erased after they were sent.",
    "OpenRollups": "Days whose rollup a later run of the sync builds. Absent if no rollup was due.",
    "PartitionsBusy": "Partitions that retention left to its next run, because other sessions use them.",
    "PartitionsDropped": "Partitions that retention dropped.",
    "PartitionsMade": "Partitions that retention made.",
    "RejectedEventsDeleted": "Rejected events that retention deleted because they are older than the retention.",
    "RollupFailures": "Runs that could not build rollups; metrics of their days are read from events.",
    "RollupsBuilt": "Days whose rollup was built in ClickHouse. Absent if no rollup was due.",
    "SyncedBytes": "Bytes that the sync sent to ClickHouse.",
    "SyncedChunks": "Chunks that ClickHouse confirmed.",
    "SyncedRows": "Rows that ClickHouse confirmed.",
    "SyncFailures": "Runs of the sync that failed.",
    "SyncOldestTransactionSeconds": "Age of the oldest transaction that the watermark waits for; 0 if none is open.",
    "SyncRefusedRows": "Rows that ClickHouse refused; they are in `rejected_events` with the source `sync`.",
    "SyncSecondsBehind": "Age of the moment up to which ClickHouse has everything; absent in the first backfill.",
    "UnsyncedRowsInOldPartitions": "Rows that keep an old partition from being dropped, because ClickHouse lacks them.",
}


def metrics() -> str:
    """Returns a table of the metrics.

    Raises:
        KeyError: a metric has no description here.
    """
    rows = {
        (code(name), unit, file.relative_to(FUNCTIONS).parts[0], DESCRIPTIONS[name])
        for file in FUNCTIONS.rglob("*.py")
        for name, unit in _EMITTED.findall(file.read_text())
    }
    return table(["metric", "unit", "function", "meaning"], sorted(rows))
