"""Fills the project of rows that were stored before `ai_usage_events` had the column `project_id`."""

from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
from psycopg import sql

from functions.shared.partitions import later_month, month_of
from functions.shared.postgres import Connection
from infra.migrations.budget import TimeBudget

_DAY = timedelta(days=1)

_UNFILLED = "SELECT name FROM partitions_without_projects ORDER BY name DESC"

# A payload may hold any JSON under the key; only a positive 64-bit integer is a project id.
_FILL = sql.SQL("""
    UPDATE {partition}
    SET project_id = (payload ->> 'project_id')::bigint
    WHERE timestamp >= %(start)s AND timestamp < %(end)s
      AND project_id IS NULL
      AND CASE WHEN payload ->> 'project_id' ~ '^[1-9][0-9]{{0,18}}$'
          THEN (payload ->> 'project_id')::numeric < 2::numeric ^ 63
          ELSE false
      END
""")

_DONE = "DELETE FROM partitions_without_projects WHERE name = %s"


def fill_projects(connection: Connection, budget: TimeBudget) -> int:
    """Fills the partitions that lack projects, a day in a transaction, and returns the number of filled rows.

    Repeatable: a call that is interrupted leaves the rest to the next one. A partition is done when a call finds no
    row to fill: during a deployment, consumers of the former version may still store rows without a project.

    Raises:
        Unfinished: the time ended before.
    """
    total = 0
    for (name,) in connection.execute(_UNFILLED).fetchall():
        filled = _fill(name, connection, budget)
        if filled == 0:
            connection.execute(_DONE, [name])
        total += filled
    return total


def _fill(partition: str, connection: Connection, budget: TimeBudget) -> int:
    statement = _FILL.format(partition=sql.Identifier(partition))

    def fill_day(day: datetime) -> int:
        return connection.execute(statement, {"start": day, "end": day + _DAY}).rowcount

    try:
        return sum(budget.retried(partial(fill_day, day)) for day in _days_of(partition))
    except psycopg.errors.UndefinedTable:
        return 0  # the retention has dropped the partition


def _days_of(partition: str) -> list[datetime]:
    start = datetime.strptime(partition[-6:], "%Y%m").replace(tzinfo=UTC)
    end = later_month(month_of(start.date()), 1)
    return [start + index * _DAY for index in range((end - start.date()).days)]
