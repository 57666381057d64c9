"""Applies the numbered migrations of the ClickHouse table, and adds columns for declared paths.

The table's comment records the newest applied migration, so that the record always belongs to the table. ClickHouse has
no transactions: a migration that was interrupted before it was recorded is applied again, so each must be repeatable.

The functions of the release before run meanwhile, and again after a rollback. So a migration only adds: no column that
the last release uses (`infra.migrations.last_release`) is dropped, renamed or retyped, and none is added that an insert
must name. A migration takes no time: what rewrites parts is left to ClickHouse's own background work (`mutations_sync =
0`), and what makes the table anew goes on run after run, as `functions.sync.rebuild` does.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from clickhouse_connect.driver.binding import format_str, quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared import canary, event_columns
from functions.shared.clickhouse import (
    MAX_DYNAMIC_PATHS,
    TABLE,
    column_of,
    declared_paths,
    last_migration,
    target_comment,
)

FOLDER = Path(__file__).parents[2] / "infra" / "migrations" / "clickhouse"

_RECORD = "ALTER TABLE {table} {on_cluster} MODIFY COMMENT {comment}"

_ADD_COLUMNS = "ALTER TABLE {table} {on_cluster} {columns}"

# ClickHouse computes the value from the payload for old parts, and stores it on insert and merge; no part is rewritten.
_ADD_COLUMN = "ADD COLUMN IF NOT EXISTS {column} Dynamic MATERIALIZED payload.{path}"

_logger = logging.getLogger(__name__)

type PayloadPath = tuple[str, ...]


class Migration(NamedTuple):
    """One change of the ClickHouse table.

    Attributes:
        apply: called with the client and the result of `parts`; must be repeatable.
    """

    number: int
    name: str
    apply: Callable[[Client, Mapping[str, object]], None]


def _statement(file: str) -> Callable[[Client, Mapping[str, object]], None]:
    def apply(client: Client, values: Mapping[str, object]) -> None:
        client.command((FOLDER / file).read_text().format(**values))

    return apply


def definition(cluster: str | None, target: UUID, table: str = TABLE) -> str:
    """Returns the statement that creates a table of events."""
    return (FOLDER / "ai_usage_events.sql").read_text().format(table=table, **parts(cluster, target))


def _create_view(client: Client, values: Mapping[str, object]) -> None:
    """Completes migration 3: before, `rebuild` makes a table without versions anew."""
    client.command((FOLDER / "ai_usage_events_current.sql").read_text().format(**values))


MIGRATIONS = (
    Migration(2, "bounded_paths", _statement("0002_bounded_paths.sql")),
    Migration(3, "versions", _create_view),
    Migration(4, "view_without_canaries", _statement("0004_view_without_canaries.sql")),
)
"""All migrations in order, without a gap. Tables of the first releases and new tables are at 1."""

NEWEST = MIGRATIONS[-1].number


def on_cluster(cluster: str | None) -> str:
    """Returns the clause that makes a statement run on each server of the cluster."""
    return f"ON CLUSTER {quote_identifier(cluster)}" if cluster else ""


def parts(cluster: str | None, target: UUID) -> dict[str, object]:
    """Returns the values for the placeholders in migration statements."""
    return {
        "on_cluster": on_cluster(cluster),
        "columns": event_columns.ALL,
        "engine": "ReplicatedReplacingMergeTree" if cluster else "ReplacingMergeTree",
        "target": format_str(target_comment(target)),
        "max_dynamic_paths": MAX_DYNAMIC_PATHS,
        "canary_id": canary.EVENT_ID,
    }


def record(
    client: Client,
    cluster: str | None,
    target: UUID,
    number: int,
    table: str = TABLE,
    copied_month: int | None = None,
) -> None:
    """Records the table's id, its newest migration and what history it has so far in the table's comment."""
    comment = format_str(target_comment(target, number, copied_month))
    client.command(_RECORD.format(table=table, comment=comment, on_cluster=on_cluster(cluster)))


def migrate(client: Client, cluster: str | None, target: UUID) -> None:
    """Applies the missing migrations. The caller must hold the lock of the sync.

    A table that a newer release has migrated further stays as it is.

    Raises:
        ClickHouseError: a migration failed; the next call applies it again.
    """
    last = last_migration(client)
    if last > NEWEST:
        _logger.warning("Left the table as a newer release made it: this release does not know migration %d", last)
    for migration in MIGRATIONS:
        if migration.number > last:
            migration.apply(client, parts(cluster, target))
            record(client, cluster, target, migration.number)


def add_declared(client: Client, cluster: str | None, paths: Iterable[PayloadPath], table: str = TABLE) -> None:
    """Adds a column for each declared path that has none.

    Columns of paths that are no longer declared stay, because older rows use them.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    if missing := sorted(set(paths) - declared_paths(client, table)):
        client.command(add_columns_statement(cluster, missing, table))


def add_columns_statement(cluster: str | None, paths: Sequence[PayloadPath], table: str = TABLE) -> str:
    """Returns the statement that adds a column for each path."""
    columns = ", ".join(
        _ADD_COLUMN.format(column=quote_identifier(column_of(path)), path=".".join(map(quote_identifier, path)))
        for path in paths
    )
    return _ADD_COLUMNS.format(table=table, columns=columns, on_cluster=on_cluster(cluster))
