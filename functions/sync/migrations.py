"""The numbered migrations of the table in ClickHouse, and the columns for what definitions declare.

The table's comment says which migration came last, so that the record can't belong to another table. ClickHouse has no
transactions: a migration that was interrupted before it was recorded is applied again, so each must bear that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from clickhouse_connect.driver.binding import format_str, quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import MAX_DYNAMIC_PATHS, column_of, declared_paths, last_migration, target_comment

FOLDER = Path(__file__).parents[2] / "infra" / "migrations" / "clickhouse"

_RECORD = "ALTER TABLE ai_usage_events {on_cluster} MODIFY COMMENT {comment}"

_ADD_COLUMNS = "ALTER TABLE ai_usage_events {on_cluster} {columns}"

# Computed from the payload where a part lacks it, stored in what is inserted and merged: nothing is rewritten.
_ADD_COLUMN = "ADD COLUMN IF NOT EXISTS {column} Dynamic MATERIALIZED payload.{path}"

type PayloadPath = tuple[str, ...]


class Migration(NamedTuple):
    """One step from one form of the table to the next.

    Attributes:
        apply: takes the client, and what `parts` returns; may be called again after it was interrupted.
    """

    number: int
    name: str
    apply: Callable[[Client, Mapping[str, object]], None]


def _statement(file: str) -> Callable[[Client, Mapping[str, object]], None]:
    def apply(client: Client, values: Mapping[str, object]) -> None:
        client.command((FOLDER / file).read_text().format(**values))

    return apply


MIGRATIONS = (Migration(2, "bounded_paths", _statement("0002_bounded_paths.sql")),)
"""In their order, without a gap. A table that the first releases made is at 1; one that is made now lacks none."""

NEWEST = MIGRATIONS[-1].number


def parts(cluster: str | None, target: UUID) -> dict[str, object]:
    """What the statements of migrations leave open."""
    return {
        "on_cluster": f"ON CLUSTER {quote_identifier(cluster)}" if cluster else "",
        "engine": "ReplicatedReplacingMergeTree" if cluster else "ReplacingMergeTree",
        "target": format_str(target_comment(target)),
        "max_dynamic_paths": MAX_DYNAMIC_PATHS,
    }


def record(client: Client, cluster: str | None, target: UUID, number: int) -> None:
    """Writes down what identifies the table, and which migration came last."""
    comment = format_str(target_comment(target, number))
    client.command(_RECORD.format(comment=comment, on_cluster=parts(cluster, target)["on_cluster"]))


def migrate(client: Client, cluster: str | None, target: UUID) -> None:
    """Applies the migrations that the table lacks. Belongs within the lock of the sync.

    Raises:
        ClickHouseError: one failed; it is applied again by the next call.
    """
    last = last_migration(client)
    for migration in MIGRATIONS:
        if migration.number > last:
            migration.apply(client, parts(cluster, target))
            record(client, cluster, target, migration.number)


def add_declared(client: Client, cluster: str | None, target: UUID, paths: Iterable[PayloadPath]) -> None:
    """Gives the paths that definitions declare a column each, where the table lacks it.

    A column whose path no definition declares any more stays: older rows are read by it.

    Raises:
        ClickHouseError: ClickHouse did not answer, or refused.
    """
    if missing := sorted(set(paths) - declared_paths(client)):
        client.command(added_columns(cluster, target, missing))


def added_columns(cluster: str | None, target: UUID, paths: Sequence[PayloadPath]) -> str:
    """The statement that gives each of the paths a column."""
    columns = ", ".join(
        _ADD_COLUMN.format(column=quote_identifier(column_of(path)), path=".".join(map(quote_identifier, path)))
        for path in paths
    )
    return _ADD_COLUMNS.format(columns=columns, on_cluster=parts(cluster, target)["on_cluster"])
