"""The WHERE condition of a `Selection` in PostgreSQL. Each function adds its bind parameters to `values`."""

from datetime import datetime
from typing import Any

from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.query.selection import Selection
from functions.shared.traversal_path import namespace_upper_bound

_WITHIN_PERIOD = sql.SQL("""
    events.timestamp >= %(start)s AND events.timestamp < %(end)s AND events.event = ANY(%(event_ids)s::smallint[])
""")
_OF_USERS = sql.SQL("events.user_id = ANY(%(user_ids)s::bigint[])")
_OF_PROJECTS = sql.SQL("events.project_id = ANY(%(project_ids)s::bigint[])")
_WITHIN_NAMESPACE = sql.SQL("events.namespace_path >= {low} AND events.namespace_path < {high}")


def event_conditions(selection: Selection, values: dict[str, Any]) -> list[sql.Composable]:
    """The conditions on period, event types and payload."""
    values |= {"start": selection.start, "end": selection.end, "event_ids": list(selection.event_ids)}
    payload = [payload_sql.condition(condition, values) for condition in selection.conditions]
    return [_WITHIN_PERIOD, *payload]


def user_conditions(selection: Selection, values: dict[str, Any]) -> list[sql.Composable]:
    """The condition on the users."""
    if selection.user_ids is None:
        return []
    values["user_ids"] = list(selection.user_ids)
    return [_OF_USERS]


def project_conditions(selection: Selection, values: dict[str, Any]) -> list[sql.Composable]:
    """The condition on the projects."""
    if selection.project_ids is None:
        return []
    values["project_ids"] = list(selection.project_ids)
    return [_OF_PROJECTS]


def namespace_conditions(selection: Selection, values: dict[str, Any]) -> list[sql.Composable]:
    """The condition on the namespaces."""
    if selection.namespaces is None:
        return []
    conditions = []
    for number, path in enumerate(selection.namespaces):
        low, high = f"low_{number}", f"high_{number}"
        values |= {low: path, high: namespace_upper_bound(path)}
        conditions.append(_WITHIN_NAMESPACE.format(low=sql.Placeholder(low), high=sql.Placeholder(high)))
    return [sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))]


def where_condition(selection: Selection, values: dict[str, Any]) -> sql.Composable:
    """All conditions of the selection, joined by AND."""
    conditions = [
        *event_conditions(selection, values),
        *user_conditions(selection, values),
        *project_conditions(selection, values),
        *namespace_conditions(selection, values),
    ]
    return sql.SQL(" AND ").join(conditions)


def month_of(moment: datetime) -> datetime:
    """Start of the month, which is the start of the partition."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
