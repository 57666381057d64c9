"""Removes the events of a user or a namespace from ClickHouse, so that no bytes of them stay."""

from collections.abc import Iterable, Iterator
from itertools import batched
from uuid import UUID

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import TABLE, columns_of
from functions.shared.rollup import TOTALS, USERS
from functions.sync import kept_directory, known_names
from infra.operations.erasure.subject import Subject

type EventKey = tuple[UUID, int]
"""Id of an event, and its month, like 202611."""

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

# Versions of events that PostgreSQL no longer has, and whose newest version was never copied.
_VERSIONS_OF = """
    SELECT DISTINCT id, toYYYYMM(timestamp) AS month
    FROM ai_usage_events
    WHERE (id, toYYYYMM(timestamp)) IN ({keys})
"""

_DELETE_VERSIONS = """
    ALTER TABLE ai_usage_events {on_cluster}
    DELETE WHERE (id, toYYYYMM(timestamp)) IN ({keys})
"""

_KEYS_AT_ONCE = 2000  # fit into a statement of ClickHouse's default length

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


def delete_events(
    client: Client, subject: Subject, removed: Iterable[EventKey], cluster: str | None, seconds: int
) -> None:
    """Removes all rows of the subject, and waits until every replica has done so.

    Requires the lock of the sync, because a running sync may insert rows that PostgreSQL no longer has.

    Args:
        removed: events of which no version may stay, whoever the versions in ClickHouse belong to.
        seconds: time limit of each statement.

    Raises:
        RowsRemain: rows of the subject were inserted meanwhile.
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    on_cluster = f"ON CLUSTER {quote_identifier(cluster)}" if cluster else ""
    settings = {"mutations_sync": 2, "distributed_ddl_task_timeout": seconds}
    for keys in (*_other_versions(client, subject), *_stored(client, removed)):
        client.command(_DELETE_VERSIONS.format(on_cluster=on_cluster, keys=", ".join(keys)), settings=settings)
    statement = _DELETE.format(on_cluster=on_cluster, condition=subject.clickhouse_condition)
    client.command(statement, parameters=subject.clickhouse_values, settings=settings)
    remaining = count_events(client, subject)
    if remaining:
        raise RowsRemain(f"ClickHouse still has {remaining:,} events of {subject}")


def seconds_of_old_parts(client: Client) -> int:
    """Returns for how long ClickHouse keeps the files from which rows were removed: of events, rollups and names."""
    names = (kept_directory.TABLE, *(table.table for table in known_names.TABLES))
    tables = [TABLE, *(table for table in (TOTALS, USERS, *names) if columns_of(client, table))]
    found = [client.query(_SECONDS_OF_OLD_PARTS, parameters={"table": table}).result_rows for table in tables]
    return max(int(rows[0][0]) for rows in found)


def _other_versions(client: Client, subject: Subject) -> Iterator[list[str]]:
    """Returns groups of keys, each an id with its month, whose rows all belong to the subject by now."""
    statement = _OTHER_VERSIONS.format(condition=subject.clickhouse_condition)
    rows = client.query(statement, parameters=subject.clickhouse_values).result_rows
    return _in_groups((identifier, month) for identifier, month in rows)


def _stored(client: Client, events: Iterable[EventKey]) -> Iterator[list[str]]:
    """Returns groups of the keys of which ClickHouse has versions."""
    found = list[EventKey]()
    for keys in _in_groups(events):
        rows = client.query(_VERSIONS_OF.format(keys=", ".join(keys))).result_rows
        found += ((identifier, month) for identifier, month in rows)
    return _in_groups(found)


def _in_groups(events: Iterable[EventKey]) -> Iterator[list[str]]:
    """Yields the keys as ClickHouse's literals, as many at a time as fit into a statement."""
    for some in batched(events, _KEYS_AT_ONCE, strict=False):
        yield [f"(toUUID('{identifier}'), {month})" for identifier, month in some]
