"""Measures sessions on ClickHouse."""

from collections.abc import Sequence
from typing import Any

from functions.graphql.clickhouse import payload_sql
from functions.graphql.clickhouse.group_order import sort_keys
from functions.graphql.clickhouse.people import separate_condition
from functions.graphql.clickhouse.where import where_condition
from functions.graphql.query.aggregation import Dimension
from functions.graphql.query.bind import add_value
from functions.graphql.query.sessions import Sessions
from functions.shared.payload_value import DeclaredPaths

_SESSIONS = """
    SELECT {keys}count() AS sessions, uniqExact(first.2), countIf(is_completed),
           countIf(is_abandoned), count(duration), quantileExactInclusive(0.5)(duration),
           quantileExactInclusive(0.95)(duration)
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
"""
_ORDERED = "{groups} {having} ORDER BY {order} LIMIT {{limit:UInt32}}"
_ONLY_COUNT = "SELECT count() FROM ({groups})"
_FIRST_PATH = 6  # position in the tuple of a session's first event
# Each with its type.
_KEYS = {
    Dimension.FEATURE: ("feature", "String"),
    Dimension.EVENT: ("first.4", "UInt16"),
    Dimension.USER: ("first.2", "UInt64"),
    Dimension.NAMESPACE: ("place", "String"),
    Dimension.PROJECT: ("first.3", "UInt64"),
    Dimension.DAY: ("toDate32(first.1)", "Date32"),
    Dimension.WEEK: ("toDate32(toMonday(first.1))", "Date32"),
    Dimension.MONTH: ("toDate32(toStartOfMonth(first.1))", "Date32"),
}


def sessions_statement(question: Sessions, declared: DeclaredPaths, values: dict[str, Any]) -> str:
    """The statement that measures sessions; adds its bind parameters to `values`.

    Args:
        declared: payload paths that have a column of their own.
    """
    matches = separate_condition("matched", question.matched, declared, values)
    conditions = where_condition(question.covered, values, declared)
    features, session_keys = [], []
    for number, feature in enumerate(question.features):
        values |= {f"events_{number}": [*feature.begins, *feature.ends], f"feature_{number}": feature.name}
        when = f"event IN {{events_{number}:Array(UInt16)}}"
        integer = f"toString({payload_sql.integer(feature.key, values, declared)})"
        value = integer if feature.key_type is int else payload_sql.text(feature.key, values, declared)
        features.append(f"{when}, {{feature_{number}:String}}")
        session_keys.append(f"{when}, ifNull({value}, '')")
    values |= question.bind_values
    at_paths = [part for path in question.paths for part in payload_sql.scalar_key(path, values, declared)]
    keys = [_KEYS[dimension] for dimension in question.dimensions]
    sorted_by = sort_keys([kind for _, kind in keys], question.paths)
    expressions = [key for key, _ in keys] + [f"first.{_FIRST_PATH + number}" for number in range(len(at_paths))]
    names = [f"key_{number}" for number in range(len(expressions))]
    count_direction, direction = ("ASC", "DESC") if question.backwards else ("DESC", "ASC")
    order = ", ".join([f"sessions {count_direction}", *(f"{expression} {direction}" for expression, _ in sorted_by)])
    groups = _SESSIONS.format(
        keys="".join(f"{key} AS {name}, " for key, name in zip(expressions, names, strict=True)),
        feature=f"multiIf({', '.join(features)}, '')",
        session_key=f"multiIf({', '.join(session_keys)}, '')",
        matches=matches,
        paths="".join(f", {part} AS path_{number}" for number, part in enumerate(at_paths)),
        path_names="".join(f", path_{number}" for number in range(len(at_paths))),
        conditions=conditions,
        groups=f"GROUP BY {', '.join(names)}" if names else "",
    )
    if question.only_count:
        return _ONLY_COUNT.format(groups=groups)
    having = _having(question, sorted_by, values)
    return _ORDERED.format(groups=groups, having=having, order=order)


def _having(question: Sessions, sorted_by: Sequence[tuple[str, str]], values: dict[str, Any]) -> str:
    if question.beyond is None:
        return ""
    (count,) = question.beyond.ordered
    position = zip(("Int64", *(kind for _, kind in sorted_by)), (-count, *question.beyond.keys), strict=True)
    bound = ", ".join(f"{{{add_value(values, value)}:{kind}}}" for kind, value in position)
    expressions = "".join(f", {expression}" for expression, _ in sorted_by)
    return f"HAVING (-toInt64(sessions){expressions}) {'<' if question.backwards else '>'} ({bound})"
