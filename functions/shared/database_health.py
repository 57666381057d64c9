"""Metrics of the database: connections, the oldest transaction, and the partitions that events need soon."""

from datetime import UTC, datetime
from typing import Any

import psycopg

from functions.shared.metrics import Metric
from functions.shared.partitions import partition_name, partitions, wanted_months
from functions.shared.postgres import TimeLimits, connect
from functions.shared.secret import UrlSource

CONNECTIONS_USED = Metric(
    "DatabaseConnectionsUsed", "Percent", "Connections in use, of those that PostgreSQL allows to ordinary roles."
)
OLDEST_TRANSACTION = Metric(
    "DatabaseOldestTransactionSeconds",
    "Seconds",
    "Age of the oldest transaction of any session, also one that only reads; 0 if none is open.",
)
PARTITIONS_MISSING = Metric(
    "PartitionsMissing", "Count", "Partitions that this month and the next need, and that do not exist."
)

_LIMITS = TimeLimits(statement=5, transaction=10)

# A role without pg_read_all_stats sees the transactions of its own sessions alone.
_HEALTH = """
    SELECT
        100.0 * count(*) / greatest(
            current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - current_setting('reserved_connections')::int,
            1
        ),
        greatest(
            max(extract(epoch FROM clock_timestamp() - xact_start)) FILTER (WHERE pid <> pg_backend_pid()),
            (SELECT max(extract(epoch FROM clock_timestamp() - prepared)) FROM pg_prepared_xacts),
            0
        )
    FROM pg_stat_activity
    WHERE backend_type = 'client backend'
"""


def database_health(source: UrlSource) -> dict[Metric, float]:
    """Returns the metrics of the database.

    Raises:
        psycopg.Error: the database can't be asked.
    """
    with connect(source, _LIMITS) as connection:
        row = connection.execute(_HEALTH).fetchone()
        present = set(partitions(connection))
    used, oldest = _numbers(row)
    soon = wanted_months(datetime.now(UTC).date(), 0)[:2]
    missing = sum(partition_name(month) not in present for month in soon)
    return {CONNECTIONS_USED: round(used, 1), OLDEST_TRANSACTION: round(oldest, 1), PARTITIONS_MISSING: missing}


def _numbers(row: tuple[Any, ...] | None) -> tuple[float, float]:
    if row is None:
        raise psycopg.DataError("PostgreSQL did not describe its sessions")
    return float(row[0]), float(row[1])
