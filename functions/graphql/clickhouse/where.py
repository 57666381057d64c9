"""The WHERE condition of a `Selection` in ClickHouse."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from functions.graphql.clickhouse import payload_sql
from functions.graphql.query.selection import Selection
from functions.shared.payload_value import DeclaredPaths
from functions.shared.traversal_path import namespace_upper_bound

_WITHIN_PERIOD = "timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}"
_OF_EVENTS = "event IN {event_ids:Array(UInt16)}"
_OF_USERS = "user_id IN {user_ids:Array(UInt64)}"
_OF_PROJECTS = "project_id IN {project_ids:Array(UInt64)}"
_WITHIN_NAMESPACE = "{column} >= {{low_{number}:String}} AND {column} < {{high_{number}:String}}"


def where_condition(selection: Selection, values: dict[str, Any], declared: DeclaredPaths) -> str:
    """All conditions of the selection, joined by AND; adds its bind parameters to `values`.

    Args:
        declared: payload paths that have a column of their own.
    """
    values |= {"start": selection.start, "end": selection.end}
    conditions = [_WITHIN_PERIOD, columns_condition(selection, values)]
    conditions += [payload_sql.condition(condition, values, declared) for condition in selection.conditions]
    return " AND ".join(conditions)


def columns_condition(selection: Selection, values: dict[str, Any]) -> str:
    """The conditions on event, user, project and namespace, joined by AND; adds its bind parameters to `values`."""
    values["event_ids"] = list(selection.event_ids)
    conditions = [_OF_EVENTS]
    if selection.user_ids is not None:
        values["user_ids"] = list(selection.user_ids)
        conditions.append(_OF_USERS)
    if selection.project_ids is not None:
        values["project_ids"] = list(selection.project_ids)
        conditions.append(_OF_PROJECTS)
    if selection.namespaces is not None:
        conditions.append(_within_namespaces("namespace_path", selection.namespaces, values))
    return " AND ".join(conditions)


def scope_condition(selection: Selection, values: dict[str, Any]) -> str:
    """The conditions on event, project and scope in the table of totals; adds its bind parameters to `values`."""
    values["event_ids"] = list(selection.event_ids)
    if selection.project_ids is None:
        values["scopes"] = list(_outermost(("",) if selection.namespaces is None else selection.namespaces))
        return f"{_OF_EVENTS} AND project_id = 0 AND scope IN {{scopes:Array(String)}}"
    values["project_ids"] = list(selection.project_ids)
    within = "" if selection.namespaces is None else f" AND {_within_namespaces('scope', selection.namespaces, values)}"
    return f"{_OF_EVENTS} AND project_id > 0 AND {_OF_PROJECTS}{within}"


def _within_namespaces(column: str, namespaces: Sequence[str], values: dict[str, Any]) -> str:
    for number, path in enumerate(namespaces):
        values |= {f"low_{number}": path, f"high_{number}": namespace_upper_bound(path)}
    within = [_WITHIN_NAMESPACE.format(column=column, number=number) for number in range(len(namespaces))]
    return f"({' OR '.join(within)})"


def _outermost(paths: Iterable[str]) -> Iterator[str]:
    """Yields the paths that do not lie within another one, each once."""
    distinct = set(paths)
    for path in sorted(distinct):
        if not any(path != other and path.startswith(other) for other in distinct):
            yield path
