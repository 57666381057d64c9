"""Removes the events of a user or a namespace from ClickHouse, so that no bytes of them stay."""

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import TABLE
from infra.operations.erasure.subject import Subject

_HAS_TABLE = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"

# Rows that were copied twice, and marks of removed rows, count once.
_COUNT = "SELECT uniqExact(id, timestamp) FROM ai_usage_events WHERE {condition}"

# A mutation rewrites the parts that hold such rows. A lightweight DELETE would only mark the rows.
_DELETE = "ALTER TABLE ai_usage_events {on_cluster} DELETE WHERE {condition}"

# Other versions of an event whose newest version belongs to the subject: an event that was moved into the namespace, or
# that was another user's before. The newest version may be the mark that the event was removed.
_OTHER_VERSIONS = """
    SELECT DISTINCT id, toYYYYMM(timestamp) AS month
    FROM ai_usage_events
    WHERE id IN (SELECT id FROM ai_usage_events WHERE {condition})
    GROUP BY id, month
    HAVING countIf(NOT ({condition})) > 0 AND argMax({condition}, (version, is_deleted = 0))
"""

_DELETE_VERSIONS = """
    ALTER TABLE ai_usage_events {on_cluster}
    DELETE WHERE (id, toYYYYMM(timestamp)) IN ({keys})
"""

_KEYS_AT_ONCE = 2000  # fit into a statement of ClickHouse's default length

_HAS_VERSIONS = """
    SELECT count()
    FROM system.columns
    WHERE database = currentDatabase() AND table = {table:String} AND name IN ('version', 'is_deleted')
"""

# How long ClickHouse keeps the files of a part that was replaced.
_SECONDS_OF_OLD_PARTS = """
    SELECT toUInt32OrZero(coalesce(
        (
            SELECT nullIf(extract(engine_full, 'old_parts_lifetime = ([0-9]+)'), '')
            FROM system.tables
            WHERE database = currentDatabase() AND name = {table:String}
        ),
        (SELECT value FROM system.merge_tree_settings WHERE name = 'old_parts_lifetime')
    ))
"""

_TABLE = {"table": TABLE}


class RowsRemain(Exception):
    """ClickHouse still has rows after the mutation; the message says how many."""


def has_table(client: Client) -> bool:
    """Whether the table exists; without it there is nothing to remove."""
    return bool(client.query(_HAS_TABLE, parameters=_TABLE).result_rows[0][0])


def count_events(client: Client, subject: Subject) -> int:
    """Returns how many events of the subject ClickHouse has."""
    statement = _COUNT.format(condition=subject.clickhouse_condition)
    return int(client.query(statement, parameters=subject.clickhouse_values).result_rows[0][0])


def delete_events(client: Client, subject: Subject, cluster: str | None, seconds: int) -> None:
    """Removes all rows of the subject, and waits until every replica has done so.

    Requires the lock of the sync, because a running sync may insert rows that PostgreSQL no longer has.

    Args:
        seconds: time limit of each statement.

    Raises:
        RowsRemain: rows of the subject were inserted meanwhile.
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    on_cluster = f"ON CLUSTER {quote_identifier(cluster)}" if cluster else ""
    settings = {"mutations_sync": 2, "distributed_ddl_task_timeout": seconds}
    for keys in _other_versions(client, subject):
        client.command(_DELETE_VERSIONS.format(on_cluster=on_cluster, keys=", ".join(keys)), settings=settings)
    statement = _DELETE.format(on_cluster=on_cluster, condition=subject.clickhouse_condition)
    client.command(statement, parameters=subject.clickhouse_values, settings=settings)
    remaining = count_events(client, subject)
    if remaining:
        raise RowsRemain(f"ClickHouse still has {remaining:,} events of {subject}")


def seconds_of_old_parts(client: Client) -> int:
    """Returns for how long ClickHouse keeps the files from which rows were removed."""
    return int(client.query(_SECONDS_OF_OLD_PARTS, parameters=_TABLE).result_rows[0][0])


def _other_versions(client: Client, subject: Subject) -> list[list[str]]:
    """Returns groups of keys, each an id with its month, whose rows all belong to the subject by now."""
    if client.query(_HAS_VERSIONS, parameters=_TABLE).result_rows[0][0] != 2:
        return []  # the sync has not added versions to this table yet
    statement = _OTHER_VERSIONS.format(condition=subject.clickhouse_condition)
    rows = client.query(statement, parameters=subject.clickhouse_values).result_rows
    keys = [f"(toUUID('{identifier}'), {month})" for identifier, month in rows]
    return [keys[start : start + _KEYS_AT_ONCE] for start in range(0, len(keys), _KEYS_AT_ONCE)]
