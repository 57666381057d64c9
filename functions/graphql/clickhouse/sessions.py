"""Measures sessions on ClickHouse."""

from typing import Any

from functions.graphql.clickhouse import payload_sql
from functions.graphql.clickhouse.people import separate_condition
from functions.graphql.clickhouse.where import where_condition
from functions.graphql.query.aggregation import Dimension
from functions.graphql.query.sessions import Sessions
from functions.shared.payload_value import DeclaredPaths

_SESSIONS = """
    SELECT {keys}count() AS sessions, uniqExact(first.2), countIf(is_completed),
           countIf(is_abandoned), quantileExactInclusive(0.5)(duration), quantileExactInclusive(0.95)(duration)
    FROM (
        SELECT feature, place, first, ifNull(completed >= first.1, false) AS is_completed,
               ifNull(abandoned >= first.1, false) AND NOT is_completed AS is_abandoned,
               if(ifNull(ended >= first.1, false),
                  toUnixTimestamp64Micro(assumeNotNull(ended)) - toUnixTimestamp64Micro(first.1), NULL) AS duration
        FROM (
            SELECT feature, place, session_key,
                   argMinIf((moment, user_id, project_id, event, matches{path_names}), (moment, number),
                            event IN {{begins:Array(UInt16)}}) AS first,
                   maxOrNullIf(moment, event IN {{ends:Array(UInt16)}}) AS ended,
                   maxOrNullIf(moment, event IN {{completes:Array(UInt16)}}) AS completed,
                   maxOrNullIf(moment, event IN {{abandons:Array(UInt16)}}) AS abandoned
            FROM (
                SELECT timestamp AS moment, UUIDToNum(id) AS number, user_id, project_id, event,
                       namespace_path AS place, {feature} AS feature, {session_key} AS session_key,
                       {matches} AS matches{paths}
                FROM ai_usage_events FINAL
                WHERE {conditions}
            )
            WHERE notEmpty(session_key)
            GROUP BY feature, place, session_key
            HAVING countIf(event IN {{begins:Array(UInt16)}}) > 0 AND first.5
        )
    )
    {groups}
    ORDER BY {order}
    LIMIT {{limit:UInt32}}
"""
_FIRST_PATH = 6  # position in the tuple of a session's first event
_KEYS = {
    Dimension.FEATURE: "feature",
    Dimension.EVENT: "first.4",
    Dimension.USER: "first.2",
    Dimension.NAMESPACE: "place",
    Dimension.PROJECT: "first.3",
    Dimension.DAY: "toDate(first.1)",
    Dimension.WEEK: "toMonday(first.1)",
    Dimension.MONTH: "toStartOfMonth(first.1)",
}


def sessions_statement(question: Sessions, declared: DeclaredPaths, values: dict[str, Any]) -> str:
    """The statement that measures sessions; adds its bind parameters to `values`.

    Args:
        declared: payload paths that have a column of their own.
    """
    matches = separate_condition("matched", question.matched, declared, values)
    conditions = where_condition(question.covered, values, declared)
    names, session_keys = [], []
    for number, feature in enumerate(question.features):
        values |= {f"events_{number}": [*feature.begins, *feature.ends], f"feature_{number}": feature.name}
        when = f"event IN {{events_{number}:Array(UInt16)}}"
        integer = f"toString({payload_sql.integer(feature.key, values, declared)})"
        value = integer if feature.key_type is int else payload_sql.text(feature.key, values, declared)
        names.append(f"{when}, {{feature_{number}:String}}")
        session_keys.append(f"{when}, ifNull({value}, '')")
    values |= question.bind_values
    at_paths = [part for path in question.paths for part in payload_sql.scalar_key(path, values, declared)]
    keys = [_KEYS[dimension] for dimension in question.dimensions]
    keys += [f"first.{_FIRST_PATH + number}" for number in range(len(at_paths))]
    return _SESSIONS.format(
        keys="".join(f"{key} AS key_{number}, " for number, key in enumerate(keys)),
        feature=f"multiIf({', '.join(names)}, '')",
        session_key=f"multiIf({', '.join(session_keys)}, '')",
        matches=matches,
        paths="".join(f", {part} AS path_{number}" for number, part in enumerate(at_paths)),
        path_names="".join(f", path_{number}" for number in range(len(at_paths))),
        conditions=conditions,
        groups=f"GROUP BY {', '.join(f'key_{number}' for number in range(len(keys)))}" if keys else "",
        order=", ".join(["sessions DESC", *(f"key_{number}" for number in range(len(keys)))]),
    )
