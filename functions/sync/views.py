"""Makes views in ClickHouse for dashboards and notebooks: of all events, and of each feature with typed columns."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from clickhouse_connect.driver.binding import format_str, quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared import canary
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.payload_type import PayloadType, key_types, leaf_paths, type_at
from functions.shared.catalog.registry import Registry
from functions.shared.clickhouse import declared_paths
from functions.shared.payload_value import DeclaredPaths, number, value_at
from functions.sync import migrations

ALL_EVENTS = "events"

COLUMNS = (
    "id",
    "timestamp",
    "event",
    "feature",
    "event_id",
    "user_id",
    "username",
    "namespace_path",
    "namespace_full_path",
    "project_id",
    "project_full_path",
)
"""Columns that every view has."""

_COMMENT = "made by the sync, version "

_RELATIONS = "SELECT name, comment FROM system.tables WHERE database = currentDatabase()"

_DROP = "DROP VIEW {view} {on_cluster}"


class View(NamedTuple):
    """A view of events.

    Attributes:
        payload: expressions of its columns of the payload.
        condition: which stored rows the view has.
    """

    name: str
    payload: str
    condition: str


def view_name(feature: Feature) -> str:
    """Name of a feature's view, like `events_code_suggestions`."""
    return f"{ALL_EVENTS}_{feature.name}"


def make_views(client: Client, registry: Registry, cluster: str | None, recorded: Collection[str] = ()) -> int:
    """Makes missing and outdated views, and drops those of former features; returns how many were made.

    A table or view of the same name that somebody else made stays as it is, and so does a view of a feature that only
    a newer release defines.

    Args:
        recorded: names of the features that PostgreSQL has recorded, those of a newer release too.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    relations = {name: comment for name, comment in client.query(_RELATIONS).result_rows}  # noqa: C416
    wanted = {view.name: statement(view, cluster) for view in views(registry, declared_paths(client))}
    outdated = [
        text
        for name, (text, comment) in wanted.items()
        if relations.get(name, _COMMENT) != comment and relations.get(name, _COMMENT).startswith(_COMMENT)
    ]
    for text in outdated:
        client.command(text)
    kept = {*wanted, *(f"{ALL_EVENTS}_{feature}" for feature in recorded)}
    for name, comment in relations.items():
        if comment.startswith(_COMMENT) and name not in kept:
            view = quote_identifier(name)
            client.command(_DROP.format(view=view, on_cluster=migrations.on_cluster(cluster)))
    return len(outdated)


def views(registry: Registry, declared: DeclaredPaths) -> Iterator[View]:
    """The views of the definitions.

    Args:
        declared: payload paths that have a column of their own.
    """
    yield View(ALL_EVENTS, "stored.payload AS payload", f"stored.event != {canary.EVENT_ID}")
    for feature in registry.features.values():
        ids = ", ".join(map(str, sorted(feature.all_ids.values())))
        types = key_types(feature.payload) if feature.payload else {}
        columns = [*payload_columns(types, declared), "stored.payload AS payload"]
        yield View(view_name(feature), ",\n    ".join(columns), f"stored.event IN ({ids})" if ids else "false")


def payload_columns(types: Mapping[str, PayloadType], declared: DeclaredPaths) -> Iterator[str]:
    """An expression for each declared key, those of nested objects too: `job.size` is the column `job_size`.

    A key that is also a column of all events gets the prefix `payload_`.
    """
    taken = {*COLUMNS, "payload"}
    for path in leaf_paths(types):
        name = "_".join(path)
        while name in taken:
            name = f"payload_{name}"
        taken.add(name)
        yield f"{_typed(path, type_at(types, '.'.join(path)), declared)} AS {quote_identifier(name)}"


def _typed(path: tuple[str, ...], key_type: PayloadType | None, declared: DeclaredPaths) -> str:
    """The value at a path in its declared type; NULL without such a value. A list is JSON."""
    value = value_at(path, declared)
    if value is None:
        raise AssertionError(f"a declared key is a plain name, not {path}")
    if key_type is int:
        return value.signed
    if key_type is float:
        return number(value)
    if key_type is bool:
        return value.boolean
    if key_type is datetime:
        return f"parseDateTime64BestEffortOrNull({value.string}, 6, 'UTC')"
    return value.string if key_type is str else f"if({value.present}, {value.json}, NULL)"


def statement(view: View, cluster: str | None) -> tuple[str, str]:
    """The statement that makes a view, and the comment by which the view is known to be up to date."""
    template = (migrations.FOLDER / "events_view.sql").read_text()
    parts = {
        "view": quote_identifier(view.name),
        "on_cluster": migrations.on_cluster(cluster),
        "payload": view.payload,
        "condition": view.condition,
    }
    digest = hashlib.sha256(template.format(**parts, comment="").encode()).hexdigest()
    comment = f"{_COMMENT}{digest[:16]}"
    return template.format(**parts, comment=format_str(comment)), comment
