"""Removes rollups that hold a user or a namespace from ClickHouse, so that no bytes of them stay."""

from collections.abc import Collection
from datetime import date

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import TABLE, columns_of
from functions.shared.rollup import TOTALS, USERS
from infra.operations.erasure.subject import Subject

_DAYS_OF_EVENTS = "SELECT DISTINCT toDate32(timestamp) FROM {table} WHERE {condition}"

# Rollups that do not count any more may have users and namespaces that the events no longer have.
_DAYS_OF_ROLLUPS = "SELECT DISTINCT day FROM {table} WHERE {condition}"

# What a rollup says of others is computed again from their events, without those that were erased.
_DELETE = "ALTER TABLE {table} {on_cluster} DELETE WHERE day IN {{days:Array(Date32)}}"

_COUNT = "SELECT count() FROM {table} WHERE {condition}"


def days_of(client: Client, subject: Subject) -> set[date]:
    """Returns the days that have events of the subject in ClickHouse, or rollups that hold it."""
    statements = [_DAYS_OF_EVENTS.format(table=TABLE, condition=subject.clickhouse_condition)]
    if columns_of(client, USERS):
        statements.append(_DAYS_OF_ROLLUPS.format(table=USERS, condition=subject.clickhouse_condition))
    values = subject.clickhouse_values
    return {day for statement in statements for (day,) in client.query(statement, parameters=values).result_rows}


def delete_rollups(client: Client, days: Collection[date], cluster: str | None, seconds: int) -> None:
    """Removes all rollups of the days, and waits until every replica has done so.

    Args:
        seconds: time limit of each statement.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    on_cluster = f"ON CLUSTER {quote_identifier(cluster)}" if cluster else ""
    settings = {"mutations_sync": 2, "distributed_ddl_task_timeout": seconds}
    for table in (TOTALS, USERS):
        if days and columns_of(client, table):
            statement = _DELETE.format(table=table, on_cluster=on_cluster)
            client.command(statement, parameters={"days": sorted(days)}, settings=settings)


def count_rows(client: Client, subject: Subject) -> int:
    """Returns how many rows of rollups hold the subject."""
    if not columns_of(client, USERS):
        return 0
    statement = _COUNT.format(table=USERS, condition=subject.clickhouse_condition)
    return int(client.query(statement, parameters=subject.clickhouse_values).result_rows[0][0])
