"""SQL expressions for the measures of an `Aggregation` in PostgreSQL.

The statement reads from `counted`: groups of events by key, user and event type, or, if a measure needs them, single
events. Columns of `counted` hold what a measure needs of these. Each function adds its bind parameters to `values`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.query.aggregation import NUMBER_KINDS, Measure, MeasureKind
from functions.graphql.query.bind import add_value
from functions.graphql.query.scalar import ScalarKind
from functions.shared.catalog.metric import MAX_ADDEND, MAX_MEASURED, MEASURED_DECIMALS

VALUES = {
    str: payload_sql.text,
    int: payload_sql.integer,
    float: payload_sql.number,
    bool: payload_sql.boolean,
}

_OUTER: dict[MeasureKind, sql.SQL] = {
    MeasureKind.EVENTS: sql.SQL("coalesce(sum(counted.total) FILTER (WHERE {counts}), 0)::bigint"),
    MeasureKind.USERS: sql.SQL("count(DISTINCT counted.user_id) FILTER (WHERE {counts})"),
    MeasureKind.FEATURES: sql.SQL("count(DISTINCT features.name) FILTER (WHERE {counts})"),
    MeasureKind.LAST_DAY: sql.SQL("max(counted.last) FILTER (WHERE {counts})::date"),
    MeasureKind.SUM: sql.SQL("coalesce(sum({value}) FILTER (WHERE {counts}), 0)"),
    MeasureKind.DISTINCT: sql.SQL("NULL"),
    MeasureKind.PREVIOUS_USERS: sql.SQL("count(DISTINCT counted.user_id) FILTER (WHERE {counts_before})"),
    # Users of both periods = users of one + users of the other - users of either.
    MeasureKind.RETURNING_USERS: sql.SQL("""
        count(DISTINCT counted.user_id) FILTER (WHERE {counts})
        + count(DISTINCT counted.user_id) FILTER (WHERE {counts_before})
        - count(DISTINCT counted.user_id) FILTER (WHERE {matches})
    """),
    MeasureKind.TOTAL: sql.SQL("sum({value}) FILTER (WHERE {counts})"),
    MeasureKind.AVERAGE: sql.SQL("""
        (sum({value}) FILTER (WHERE {counts}) / count({value}) FILTER (WHERE {counts}))::double precision
    """),
    MeasureKind.LEAST: sql.SQL("min({value}) FILTER (WHERE {counts})"),
    MeasureKind.GREATEST: sql.SQL("max({value}) FILTER (WHERE {counts})"),
    MeasureKind.QUANTILE: sql.SQL("percentile_cont({level}) WITHIN GROUP (ORDER BY {value}) FILTER (WHERE {counts})"),
    MeasureKind.DISTINCT_COUNT: sql.SQL("count(DISTINCT {value}) FILTER (WHERE {counts})"),
    MeasureKind.SCALAR_COUNT: sql.SQL("count(DISTINCT {value}) FILTER (WHERE {counts})"),
}
# A quotient beyond a double's range would be an error, and so would one too small for a double.
_RATIO = sql.SQL("""
    (CASE WHEN {divisor} = 0 THEN NULL
          WHEN abs({divisor}) < 1 AND abs({dividend}) > 1.7e308 * abs({divisor}) THEN NULL
          WHEN abs({divisor}) > 1 AND abs({dividend}) < 1e-300 THEN 0
          ELSE {dividend}::double precision / {divisor}::double precision END)
""")
_OF_VALUES = NUMBER_KINDS | {MeasureKind.SUM, MeasureKind.DISTINCT_COUNT, MeasureKind.SCALAR_COUNT}
_IS_CURRENT = sql.SQL("counted.is_current")
_IS_BEFORE = sql.SQL("NOT counted.is_current")

_TOTALS = {
    int: sql.SQL("sum({value})"),
    float: sql.SQL("sum({value}) FILTER (WHERE abs({value}) < {max_addend})"),
}
_ADDENDS = {
    int: sql.SQL("{value}"),
    float: sql.SQL("CASE WHEN abs({value}) < {max_addend} THEN {value} END"),
}
_EXACT = sql.SQL("CASE WHEN abs({value}) < {limit} THEN trunc({value}, {places}) END")
_DOUBLE = sql.SQL("CASE WHEN abs({value}) < {limit} THEN {value}::double precision END")
_SCALAR = sql.SQL("CASE WHEN {kind} <> {nothing} THEN ROW({kind}, {number}, {text}) END")


def needs_events(measures: Sequence[Measure]) -> bool:
    """Whether `counted` must hold single events."""
    return any(measure.needs_events for measure in measures)


def counted_columns(measures: Sequence[Measure], values: dict[str, Any]) -> Iterator[sql.Composable]:
    """The columns of `counted` that the measures need, each beginning with a comma."""
    of_events = needs_events(measures)
    for label, measure in _labelled(measures):
        if measure.kind in _OF_VALUES:
            yield sql.SQL(", {} AS {}").format(_value(measure, values, of_events=of_events), _column("value", label))
        if measure.conditions:
            passed = [payload_sql.condition(condition, values) for condition in measure.conditions]
            yield sql.SQL(", {} AS {}").format(sql.SQL(" AND ").join(passed), _column("passes", label))


def expressions(measures: Sequence[Measure], values: dict[str, Any]) -> list[sql.Composable]:
    """The expression of each measure, of a group of `counted`."""
    return [_expression(str(number), measure, values) for number, measure in enumerate(measures)]


def _expression(label: str, measure: Measure, values: dict[str, Any]) -> sql.Composable:
    if measure.kind is MeasureKind.RATIO:
        dividend, divisor = (_expression(f"{label}_{part}", of, values) for part, of in enumerate(measure.of))
        return _RATIO.format(dividend=dividend, divisor=divisor)
    matches: list[sql.Composable] = []
    if measure.event_ids is not None:
        event_ids = sql.Placeholder(add_value(values, list(measure.event_ids)))
        matches.append(sql.SQL("counted.event = ANY({}::smallint[])").format(event_ids))
    if measure.conditions:
        matches.append(sql.SQL("counted.{}").format(_column("passes", label)))
    return _OUTER[measure.kind].format(
        counts=sql.SQL(" AND ").join([_IS_CURRENT, *matches]),
        counts_before=sql.SQL(" AND ").join([_IS_BEFORE, *matches]),
        matches=sql.SQL(" AND ").join(matches) if matches else sql.SQL("true"),
        value=sql.SQL("counted.{}").format(_column("value", label)),
        level=sql.Literal(measure.level),
    )


def _value(measure: Measure, values: dict[str, Any], *, of_events: bool) -> sql.Composable:
    """What a measure needs of an event, or of a group of events."""
    if measure.kind is MeasureKind.DISTINCT_COUNT:
        return VALUES[measure.value_type](measure.path, values)
    if measure.kind is MeasureKind.SCALAR_COUNT:
        kind, number, text = payload_sql.scalar_key(measure.path, values)
        return _SCALAR.format(kind=kind, number=number, text=text, nothing=ScalarKind.NOTHING)
    if measure.kind is MeasureKind.SUM:
        form = (_ADDENDS if of_events else _TOTALS)[measure.value_type]
        value = VALUES[measure.value_type](measure.path, values)
        return form.format(value=value, max_addend=sql.Literal(MAX_ADDEND))
    if measure.kind is MeasureKind.QUANTILE:
        return _DOUBLE.format(value=VALUES[measure.value_type](measure.path, values), limit=sql.Literal(MAX_MEASURED))
    exact = payload_sql.integer if measure.value_type is int else payload_sql.numeric
    limit, places = sql.Literal(MAX_MEASURED), sql.Literal(MEASURED_DECIMALS)
    return _EXACT.format(value=exact(measure.path, values), limit=limit, places=places)


def _labelled(measures: Sequence[Measure], above: str = "") -> Iterator[tuple[str, Measure]]:
    """Yields each measure, and each part of a ratio, with a label of its own."""
    for number, measure in enumerate(measures):
        yield f"{above}{number}", measure
        yield from _labelled(measure.of, f"{above}{number}_")


def _column(what: str, label: str) -> sql.Identifier:
    return sql.Identifier(f"{what}_{label}")
