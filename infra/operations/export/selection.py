"""Selects the events of an export by the filters that GraphQL has."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import date

from functions.graphql.context import Coverage
from functions.graphql.export.filters import read_filters
from functions.graphql.postgres.directory import PostgresDirectory
from functions.graphql.query.selection import Selection
from functions.graphql.schema import executable_schema
from functions.graphql.types.arguments import select
from functions.graphql.types.namespace_node import find_namespace
from functions.shared.catalog.registry import Registry
from functions.shared.grant import EVERYTHING, READ, Grant
from functions.shared.postgres import Database, TimeLimits
from infra.operations.export.error import ExportError

_LIMITS = TimeLimits(statement=60, transaction=60)
_OPERATOR = Grant(sub="", scopes=(READ,), namespaces=(EVERYTHING,))


def selection_of(
    database_url: str, registry: Registry, today: date, namespace: str | None, filters: Mapping[str, Sequence[str]]
) -> Selection:
    """Returns which events to export.

    Args:
        namespace: full path of a group or project, or traversal path of a group; None for everything.
        filters: see `read_filters`.

    Raises:
        InvalidArgument: a filter is invalid.
        ExportError: there is no such namespace.
        psycopg.Error: PostgreSQL can't be read.
    """
    given = read_filters(executable_schema(registry), filters)
    coverage = Coverage(None) if namespace is None else _coverage(database_url, namespace)
    return select(coverage, registry, today, given)


def _coverage(database_url: str, namespace: str) -> Coverage:
    with closing(Database(database_url, _LIMITS)) as database:
        found = find_namespace(_OPERATOR, PostgresDirectory(database, _OPERATOR), namespace)
    if found is None:
        raise ExportError(f"no namespace or project is known as {namespace}")
    return found.coverage
