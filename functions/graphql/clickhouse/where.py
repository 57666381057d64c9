"""The WHERE condition of a `Selection` in ClickHouse."""

from typing import Any

from functions.graphql.clickhouse import payload_sql
from functions.graphql.clickhouse.payload_sql import DeclaredPaths
from functions.graphql.query.selection import Selection
from functions.shared.traversal_path import namespace_upper_bound

_WITHIN_PERIOD = """
    timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
    AND event IN {event_ids:Array(UInt16)}
"""
_OF_USERS = "user_id IN {user_ids:Array(UInt64)}"
_OF_PROJECTS = "project_id IN {project_ids:Array(UInt64)}"
_WITHIN_NAMESPACE = "namespace_path >= {{low_{number}:String}} AND namespace_path < {{high_{number}:String}}"


def where_condition(selection: Selection, values: dict[str, Any], declared: DeclaredPaths) -> str:
    """All conditions of the selection, joined by AND; adds its bind parameters to `values`.

    Args:
        declared: payload paths that have a column of their own.
    """
    values |= {"start": selection.start, "end": selection.end, "event_ids": list(selection.event_ids)}
    conditions = [_WITHIN_PERIOD]
    if selection.user_ids is not None:
        values["user_ids"] = list(selection.user_ids)
        conditions.append(_OF_USERS)
    if selection.project_ids is not None:
        values["project_ids"] = list(selection.project_ids)
        conditions.append(_OF_PROJECTS)
    if selection.namespaces is not None:
        for number, path in enumerate(selection.namespaces):
            values |= {f"low_{number}": path, f"high_{number}": namespace_upper_bound(path)}
        within = [_WITHIN_NAMESPACE.format(number=number) for number in range(len(selection.namespaces))]
        conditions.append(f"({' OR '.join(within)})")
    conditions += [payload_sql.condition(condition, values, declared) for condition in selection.conditions]
    return " AND ".join(conditions)
